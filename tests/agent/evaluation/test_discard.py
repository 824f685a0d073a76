import numpy as np
import pytest
from scipy.stats import spearmanr

from agent.biometrics import Quality
from agent.evaluation import discard
from agent.evaluation.attempts import Attempt, Attempts
from agent.evaluation.discard import SHARES, TOTAL


def presentations(measures, count: int = 400) -> tuple[Attempts, dict[int, Quality]]:
    """One genuine attempt a sample, a tenth of them below the threshold 0; `measures(score, random)` per sample."""
    random = np.random.default_rng(0)
    scores = random.permutation(np.linspace(-1.0, 9.0, count))
    attempts = Attempts.of([Attempt(score, 0, 0, (number,)) for number, score in enumerate(scores)], width=1)
    return attempts, {number: Quality(50, (), measures(score, random)) for number, score in enumerate(scores)}


def curve_of(measure: str, attempts: Attempts, qualities: dict[int, Quality]) -> discard.Curve:
    return next(curve for curve in discard.curves(attempts, 0.0, qualities) if curve.measure == measure)


def test_a_measure_that_knows_the_errors_removes_them_all_by_the_time_their_share_is_discarded():
    attempts, qualities = presentations(lambda score, _: {"true": score})
    curve = curve_of("true", attempts, qualities)
    assert curve.keep == "high"
    assert curve.correlation == 1.0
    assert curve.fnmr[0] == pytest.approx(0.1)
    assert curve.fnmr[SHARES.index(0.05)] == pytest.approx(0.05 / 0.95)
    assert curve.fnmr[SHARES.index(0.1)] == 0.0
    assert curve.gain > 0.75


def test_a_measure_that_knows_nothing_leaves_the_curve_flat():
    attempts, qualities = presentations(lambda _, random: {"noise": random.uniform()})
    curve = curve_of("noise", attempts, qualities)
    assert abs(curve.gain) < 0.15
    assert abs(curve.correlation) < 0.15


def test_the_worst_end_of_a_measure_is_the_one_that_goes_with_low_scores():
    attempts, qualities = presentations(lambda score, _: {"blur": -score})
    curve = curve_of("blur", attempts, qualities)
    assert (curve.keep, curve.correlation) == ("low", -1.0)
    assert curve.gain > 0.75


def test_the_total_score_is_never_turned_round():
    attempts, _ = presentations(lambda score, _: {})
    qualities = {number: Quality(int(50 - 5 * score)) for number, score in enumerate(attempts.scores)}
    curve = curve_of(TOTAL, attempts, qualities)
    assert curve.keep == "high"
    assert curve.gain < 0.0


def test_discarding_a_sample_takes_all_its_attempts():
    pairs = [Attempt(-1.0, 0, 0, (0, other)) for other in range(1, 20)] + [Attempt(1.0, 0, 0, (1, 2))] * 19
    qualities = {number: Quality(10 if number == 0 else 90, (), {}) for number in range(20)}
    curve = curve_of(TOTAL, Attempts.of(pairs), qualities)
    assert curve.fnmr[0] == 0.5
    assert curve.fnmr[SHARES.index(0.05)] == 0.0


def test_equal_qualities_are_discarded_in_a_random_order_and_not_in_that_of_the_folder():
    attempts, _ = presentations(lambda *_: {})
    ordered = Attempts.of([Attempt(score, 0, 0, (n,)) for n, score in enumerate(sorted(attempts.scores))], width=1)
    curve = curve_of(TOTAL, ordered, {number: Quality(70) for number in range(len(ordered))})
    assert curve.fnmr[-1] == pytest.approx(0.1, abs=0.05)


def test_without_errors_there_is_nothing_to_gain():
    attempts, qualities = presentations(lambda score, _: {"true": score})
    assert all(curve.gain is None for curve in discard.curves(attempts, -5.0, qualities))


def test_rank_correlation_is_spearman_s_with_ties():
    random = np.random.default_rng(3)
    one, other = random.integers(0, 6, 80).astype(float), random.integers(0, 6, 80).astype(float)
    assert discard.spearman(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-4)
    assert discard.spearman(np.ones(80), other) is None
    assert discard.spearman(np.full(80, np.nan), other) is None
