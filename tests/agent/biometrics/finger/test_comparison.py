import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.biometrics.finger.comparison import compare, weigh
from agent.biometrics.finger.prepared import prepare
from agent.biometrics.minutiae import Impression, Minutia, from_vector, most_reliable, to_vector
from agent.biometrics.parameters import FINGERPRINT_THRESHOLDS
from tests.agent.biometrics.made import finger, press

ACCEPT = FINGERPRINT_THRESHOLDS["neural"].accept


def score(one: np.ndarray, other: np.ndarray) -> float:
    return compare(prepare(one), prepare(other))


def test_a_finger_is_known_however_it_is_laid_and_bent():
    skin = finger(1)
    still = press(skin, 1)
    for index, (turn, shift, bend) in enumerate([(0.0, (0, 0), 0.0), (0.6, (20, 5), 4.0), (-0.8, (-30, 40), 7.0)]):
        assert score(still, press(skin, 2 + index, turn, shift, bend)) > 2 * ACCEPT


def test_other_fingers_stay_far_below_the_threshold():
    others = [press(finger(seed), seed) for seed in range(2, 12)]
    assert max(score(press(finger(1), 1), other) for other in others) < ACCEPT


def test_directions_turn_the_same_way_as_places():
    """The trap of mixed conventions: with directions the other way round a turned finger is a stranger."""
    skin = finger(1)
    turned = press(skin, 2, turn=0.6)
    wrong = skin.copy()
    wrong[:, 2] *= -1
    mirrored = press(wrong, 1), press(wrong, 2, turn=0.6)
    flipped = [np.concatenate([v[:3], _negated(v), v[3 + int(v[2]) :]]) for v in mirrored]
    assert score(press(skin, 1), turned) > 2 * ACCEPT
    assert score(flipped[0], flipped[1]) < ACCEPT


def _negated(vector: np.ndarray) -> np.ndarray:
    rows = from_vector(vector).minutiae.copy()
    rows[:, 2] = -rows[:, 2] % 256
    return np.array(sorted(tuple(row) for row in rows.tolist()), np.int16).reshape(-1)


def test_fewer_minutiae_in_the_overlap_than_expected_speak_against_a_finger():
    skin = finger(5, count=50)
    other = finger(6, count=50)
    mixed = np.concatenate([skin[:25], other[25:]])
    whole = weigh(prepare(press(skin, 1)), prepare(press(skin, 2)))[0]
    half = weigh(prepare(press(skin, 1)), prepare(press(mixed, 2)))[0]
    assert half.coincident < 0.7 * whole.coincident


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.sampled_from([1, 30, 1000]))
def test_any_sound_vectors_give_a_finite_score(seed: int, count: int, spread: int):
    random = np.random.default_rng(seed)
    rows = random.integers((0, 0, 0, 1, 0), (spread, spread, 256, 3, 64), (2, count, 5))
    minutiae = [most_reliable(Minutia(*row) for row in one) for one in rows.tolist()]
    cells = np.ones((20, 20), np.bool_)
    vectors = [to_vector(Impression(one, cells)) for one in minutiae]
    assert 0.0 <= score(*vectors) < 1e3


def test_the_most_minutiae_on_one_spot_give_a_finite_score():
    heap = to_vector(Impression(most_reliable([Minutia(5, 5, 0, 1, 1)] * 150), np.ones((1, 1), np.bool_)))
    assert np.isfinite(score(heap, heap))
