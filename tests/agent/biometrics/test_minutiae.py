import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.biometrics import BiometricError
from agent.biometrics.minutiae import (
    FIELDS,
    Impression,
    Minutia,
    check_vector,
    from_vector,
    most_reliable,
    to_vector,
)
from tests.agent.biometrics.made import IMPRESSION

COUNT = int(IMPRESSION[2])
FOREGROUND = 3 + COUNT
"""Where the block of the foreground begins."""


def changed(index: int, value: int) -> np.ndarray:
    vector = IMPRESSION.copy()
    vector[index] = value
    return vector


@given(st.integers(0, 2**32 - 1))
def test_every_impression_survives_its_vector(seed: int):
    random = np.random.default_rng(seed)
    rows = random.integers((0, 0, 0, 1, 0), (1000, 1000, 256, 3, 64), (random.integers(1, 200), FIELDS))
    foreground = random.random(random.integers(1, 63, 2)) < 0.5
    foreground[0, 0] = True
    impression = Impression(most_reliable(Minutia(*row) for row in rows.tolist()), foreground)
    read = from_vector(to_vector(impression))
    assert all(np.array_equal(*pair) for pair in zip(read, impression, strict=True))


@given(st.lists(st.integers(-32768, 32767), max_size=60))
def test_arbitrary_vectors_are_refused(values: list[int]):
    vector = np.array(values, np.int16)
    with pytest.raises(BiometricError):
        check_vector(vector)


def test_a_sound_vector_is_accepted_so_that_the_refusals_below_mean_something():
    check_vector(IMPRESSION)


@pytest.mark.parametrize(
    "vector",
    [
        IMPRESSION[:-1],
        IMPRESSION[:0],
        IMPRESSION[:1],
        IMPRESSION[:FOREGROUND],
        np.append(IMPRESSION, 0).astype(np.int16),
        np.concatenate([IMPRESSION, IMPRESSION[1:]]),
        np.concatenate([IMPRESSION, np.array([4, 1, 0], np.int16)]),
        np.concatenate([IMPRESSION, np.array([3, 0], np.int16)]),
        np.concatenate([IMPRESSION[:1], IMPRESSION[FOREGROUND:], IMPRESSION[1:FOREGROUND]]),
        np.concatenate([IMPRESSION[:3], np.flip(IMPRESSION[3:FOREGROUND]), IMPRESSION[FOREGROUND:]]),
        changed(0, 1),
        changed(1, 2),
        changed(2, COUNT - 1),
        changed(2, -1),
        changed(2, 32767),
        changed(3, -1),
        changed(3, 1000),
        changed(5, 256),
        changed(6, 3),
        changed(7, 64),
        changed(FOREGROUND + 2, 63),
        changed(FOREGROUND + 3, 0),
        changed(FOREGROUND + 5, 1),
    ],
    ids=range(23),
)
def test_a_malformed_vector_never_reaches_the_matcher(vector: np.ndarray):
    with pytest.raises(BiometricError):
        check_vector(vector)


def test_minutiae_out_of_order_and_too_many_are_refused():
    rows = IMPRESSION[3:FOREGROUND].reshape(-1, FIELDS)
    tail = IMPRESSION[FOREGROUND:]
    for wrong in (np.flip(rows, axis=0), np.sort(np.tile(rows, (4, 1)), axis=0)):
        head = np.array([IMPRESSION[0], 1, wrong.size], np.int16)
        with pytest.raises(BiometricError, match="minutiae"):
            check_vector(np.concatenate([head, wrong.reshape(-1), tail]))


def test_only_the_150_most_reliable_minutiae_are_kept():
    many = [Minutia(index, 5, 0, 1, index % 64) for index in range(400)]
    kept = most_reliable(many)
    assert len(kept) == 150
    assert sorted(kept[:, 4].tolist()) == sorted(one.reliability for one in many)[-150:]
