import numpy as np
import pytest
from scipy.stats import chi2

from agent.evaluation.attempts import Attempt, Attempts
from agent.evaluation.bootstrap import Plan
from agent.evaluation.recommend import recommend, subjects_for, upper_bound


def strangers(subjects: int, each: int = 1, seed: int = 0) -> Attempts:
    random = np.random.default_rng(seed)
    pairs = [(one, other) for one in range(subjects) for other in range(one) for _ in range(each)]
    return Attempts.of(Attempt(random.normal(), one, other, (one, other)) for one, other in pairs)


@pytest.mark.parametrize("errors", [0, 1, 3, 30])
def test_the_bound_is_the_exact_poisson_one(errors):
    assert upper_bound(errors, 1000) == pytest.approx(chi2.ppf(0.95, 2 * (errors + 1)) / 2 / 1000, rel=1e-6)


def test_no_error_in_n_trials_bounds_the_rate_by_three_over_n():
    assert upper_bound(0, 3000) == pytest.approx(0.001, rel=0.002)
    assert upper_bound(0, 0) == 1.0


@pytest.mark.parametrize(("wanted", "subjects"), [(0.01, 25), (0.001, 78), (0.0001, 246)])
def test_so_many_subjects_have_enough_pairs_and_one_less_has_not(wanted, subjects):
    assert subjects_for(wanted) == subjects
    assert subjects * (subjects - 1) / 2 >= 3 / wanted > (subjects - 1) * (subjects - 2) / 2


def test_ten_people_do_not_support_an_fmr_of_a_thousandth_however_often_they_are_compared():
    found = recommend(strangers(10, each=500), Plan(10, 10, 100), 0.001, production=3.0)
    assert not found.supported
    assert found.statement.startswith("Not supported: 45 pairs")
    assert "78 subjects" in found.statement
    assert found.fmr <= 0.001
    assert found.fmr_upper_by_rule > 0.05


def test_a_hundred_people_support_it_by_the_rule_of_three_alone():
    found = recommend(strangers(100), Plan(100, 100, 100), 0.001, production=3.0)
    assert found.supported
    assert "rule of three" in found.statement
    assert "30000 pairs" in found.statement
    assert found.threshold_interval[0] <= found.threshold <= found.threshold_interval[1]


def test_two_hundred_and_fifty_people_satisfy_the_rule_of_thirty():
    found = recommend(strangers(250), Plan(250, 250, 20), 0.001, production=3.0)
    assert found.statement.startswith("Supported: 31125 pairs")
    assert found.threshold == pytest.approx(3.09, abs=0.15)  # the 99.9 % point of normal scores


def test_an_fmr_beyond_the_attempts_is_unresolved_and_the_threshold_clears_every_score():
    impostor = strangers(10)
    found = recommend(impostor, Plan(10, 10, 100), 0.001, production=3.0)
    assert found.statement.startswith("Unresolved")
    assert found.threshold > impostor.scores.max()
    assert not found.supported


def test_the_product_s_own_threshold_is_judged_beside_it():
    impostor = strangers(30)
    found = recommend(impostor, Plan(30, 30, 100), 0.01, production=1.0)
    assert found.production_fmr == pytest.approx((impostor.scores >= 1.0).mean())
    assert found.production_fmr_upper_by_rule > found.production_fmr
