import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.evaluation import rates

NORMAL = NormalDist()
SCORES = st.lists(st.integers(-50, 50), min_size=1, max_size=60).map(lambda values: np.array(values, float))


def test_rates_of_five_and_four_scores_counted_by_hand():
    genuine, impostor = np.array([3.0, 5.0, 6.0, 7.0, 9.0]), np.array([1.0, 2.0, 4.0, 5.0])
    assert rates.fmr(impostor, 4.0) == 0.5
    assert rates.fnmr(genuine, 5.0) == 0.2
    assert rates.fnmr(genuine, 5.1) == 0.4
    curve = rates.det(genuine, impostor)
    assert curve.thresholds[:-1].tolist() == [1, 2, 3, 4, 5, 6, 7, 9]
    assert curve.fmr.tolist() == [1.0, 0.75, 0.5, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0]
    assert np.allclose(curve.fnmr, [0.0, 0.0, 0.0, 0.2, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_the_equal_error_rate_lies_on_the_line_between_the_points_around_it():
    genuine, impostor = np.array([3.0, 5.0, 6.0, 7.0, 9.0]), np.array([1.0, 2.0, 4.0, 5.0])
    # Between (FMR 0.25, FNMR 0.2) and (0, 0.4): 0.25 - 0.25 s = 0.2 + 0.2 s at s = 1/9.
    assert rates.eer(genuine, impostor) == pytest.approx(0.2 + 0.2 / 9)


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"), [([5, 6], [1, 2], 0.0), ([1, 2], [5, 6], 1.0), ([1, 2, 3], [1, 2, 3], 0.5)]
)
def test_the_equal_error_rate_of_separate_swapped_and_equal_scores(genuine, impostor, expected):
    assert rates.eer(np.array(genuine, float), np.array(impostor, float)) == pytest.approx(expected)


@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0])
def test_normal_scores_give_the_rates_of_the_closed_form(distance):
    grid = np.array([NORMAL.inv_cdf((index + 0.5) / 20_000) for index in range(20_000)])
    genuine, impostor = grid + distance, grid
    assert rates.eer(genuine, impostor) == pytest.approx(NORMAL.cdf(-distance / 2), abs=2e-4)
    for target in (0.01, 0.001):
        expected = NORMAL.cdf(NORMAL.inv_cdf(1 - target) - distance)
        assert rates.fnmr_at_fmr(genuine, impostor, target) == pytest.approx(expected, abs=2e-3)


def test_an_fmr_that_the_attempts_cannot_show_is_unresolved():
    genuine = np.array([1.0, 2.0])
    assert rates.fnmr_at_fmr(genuine, np.zeros(999), 0.001) is None
    assert rates.fnmr_at_fmr(genuine, np.zeros(1000), 0.001) == 0.0
    assert rates.fnmr_at_fmr(genuine, np.zeros(0), 0.5) is None
    assert math.isnan(rates.eer(genuine, np.zeros(0)))


def test_one_false_match_in_a_thousand_is_allowed_at_an_fmr_of_a_thousandth_and_two_are_not():
    impostor = np.concatenate([np.zeros(998), [5.0, 7.0]])
    assert rates.threshold_at(impostor, 0.001) == np.nextafter(5.0, 6.0)
    assert rates.fnmr_at_fmr(np.array([4.0, 5.0, 6.0, 8.0]), impostor, 0.001) == 0.5


def test_failures_to_acquire_add_to_false_rejects():
    assert rates.with_failures(0.1, 0.0) == pytest.approx(0.1)
    assert rates.with_failures(0.1, 0.2) == pytest.approx(0.28)


@given(SCORES, SCORES, st.sampled_from([0.5, 0.1, 0.02]))
def test_no_lower_threshold_keeps_the_fmr(genuine, impostor, target):
    threshold = rates.threshold_at(impostor, target)
    assert rates.fmr(impostor, threshold) <= target
    lower = np.nextafter(threshold, -np.inf)
    assert rates.fmr(impostor, lower) > target


@given(SCORES, SCORES)
def test_the_equal_error_rate_only_depends_on_the_order_of_scores(genuine, impostor):
    error = rates.eer(genuine, impostor)
    assert 0.0 <= error <= 1.0
    assert rates.eer(genuine**3, impostor**3) == pytest.approx(error)
    assert rates.eer(-impostor, -genuine) == pytest.approx(error)
