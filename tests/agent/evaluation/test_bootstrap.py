import numpy as np
import pytest

from agent.evaluation import bootstrap, rates
from agent.evaluation.attempts import Attempt, Attempts, Trials
from agent.evaluation.bootstrap import Plan

TARGETS = (0.1, 0.01)


def people(seed: int, subjects: int = 8, samples: int = 4, distance: float = 2.0, own: float = 0.0) -> Trials:
    """Scores of pairs; `own` is how much genuine scores differ from person to person."""
    random = np.random.default_rng(seed)
    shift = random.normal(0.0, own, subjects)
    genuine = [
        Attempt(random.normal(distance + shift[one]), one, one, (0, 1))
        for one in range(subjects)
        for _ in range(samples)
    ]
    impostor = [
        Attempt(random.normal(), one, other, (0, 1))
        for one in range(subjects)
        for other in range(one + 1, subjects)
        for _ in range(samples)
    ]
    return Trials(Attempts.of(genuine), Attempts.of(impostor))


def resampled(trials: Trials, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scores of one replicate written out, each as often as it counts."""
    weights = drawn.astype(int)
    genuine = np.repeat(trials.genuine.scores, weights[trials.genuine.one])
    impostor = np.repeat(trials.impostor.scores, weights[trials.impostor.one] * weights[trials.impostor.other])
    return genuine, impostor


@pytest.mark.parametrize("distance", [0.5, 2.0, 5.0, 20.0])
def test_replicates_equal_those_counted_on_repeated_scores(distance):
    trials = people(1, distance=distance)
    plan = Plan(8, 8, replicates=40)
    found = bootstrap.curves(trials, plan, TARGETS)
    thresholds = bootstrap.thresholds(trials.impostor, plan, 0.1)
    for index, drawn in enumerate(plan.draws()):
        genuine, impostor = resampled(trials, drawn)
        assert found.eer[index] == pytest.approx(rates.eer(genuine, impostor))
        assert thresholds[index] == rates.threshold_at(impostor, 0.1)
        for target in TARGETS:
            expected = rates.fnmr(genuine, rates.threshold_at(impostor, target))
            assert found.fnmr_at[target][index] == pytest.approx(expected)


def test_shares_equal_those_counted_on_repeated_scores():
    trials = people(2)
    plan = Plan(8, 8, replicates=40)
    matched = bootstrap.share(trials.impostor, trials.impostor.scores >= 1.0, plan)
    missed = bootstrap.share(trials.genuine, trials.genuine.scores < 1.0, plan)
    for index, drawn in enumerate(plan.draws()):
        genuine, impostor = resampled(trials, drawn)
        assert matched[index] == pytest.approx(rates.fmr(impostor, 1.0))
        assert missed[index] == pytest.approx(rates.fnmr(genuine, 1.0))


def test_strangers_are_drawn_apart_from_the_subjects():
    for drawn in Plan(3, 10, replicates=20).draws():
        assert drawn[:3].sum() == 3
        assert drawn[3:].sum() == 7


def test_the_interval_covers_the_truth_in_about_nineteen_of_twenty_studies():
    truth = 0.1586552539  # P(N(1, 1) < 0)
    covered = 0
    for study in range(120):
        trials = people(study, subjects=30, samples=3, distance=1.0)
        replicates = bootstrap.share(trials.genuine, trials.genuine.scores < 0.0, Plan(30, 30, replicates=200))
        low, high = bootstrap.interval(replicates)
        covered += low <= truth <= high
    assert covered >= 105


def test_drawing_subjects_is_wider_than_drawing_attempts_where_people_differ():
    trials = people(3, subjects=12, samples=20, distance=1.0, own=2.0)
    missed = trials.genuine.scores < 0.0
    by_subject = bootstrap.interval(bootstrap.share(trials.genuine, missed, Plan(12, 12)))
    random = np.random.default_rng(0)
    by_attempt = bootstrap.interval(np.array([random.choice(missed, missed.size).mean() for _ in range(1000)]))
    assert by_subject[1] - by_subject[0] > 2 * (by_attempt[1] - by_attempt[0])


def test_no_interval_where_most_replicates_have_no_attempts():
    assert bootstrap.interval(np.full(100, np.nan)) is None
    alone = people(4, subjects=2)
    drawn = np.array(list(Plan(2, 2, replicates=300).draws()))
    assert (drawn.min(axis=1) == 0).mean() == pytest.approx(0.5, abs=0.1)
    assert np.isnan(bootstrap.curves(alone, Plan(2, 2, replicates=300), TARGETS).eer).mean() == pytest.approx(
        0.5, abs=0.1
    )


def test_the_same_seed_gives_the_same_replicates_and_another_others():
    trials = people(5)
    first, same, other = (bootstrap.curves(trials, Plan(8, 8, 50, seed=seed), TARGETS).eer for seed in (1, 1, 2))
    assert (first == same).all()
    assert (first != other).any()
