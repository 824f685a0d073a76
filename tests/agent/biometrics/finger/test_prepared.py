import gc

import pytest

from agent.biometrics import BiometricError
from agent.biometrics.finger.comparison import weigh
from agent.biometrics.finger.cylinders import similarity
from agent.biometrics.finger.prepared import PreparedVectors, prepare
from agent.biometrics.finger.relaxation import relax
from agent.biometrics.minutiae import Minutia, from_vector
from tests.agent.biometrics.made import IMPRESSION


def test_an_impression_is_prepared_once_and_forgotten_with_its_vector():
    vectors = PreparedVectors()
    vector = IMPRESSION.copy()
    assert vectors.of(vector) is vectors.of(vector)
    assert vectors.held == 1
    del vector
    gc.collect()
    assert vectors.held == 0


def test_another_vector_is_never_taken_for_one_that_is_gone():
    vectors = PreparedVectors()
    for length in range(1, 40):
        with pytest.raises(BiometricError):
            vectors.of(IMPRESSION[:length].copy())
    assert vectors.held == 0


def test_no_minutia_shows_in_a_repr():
    """The same values as a plain tuple do show."""
    one = prepare(IMPRESSION)
    evidence, alignment = weigh(one, one)
    alike = similarity(one.cylinders, one.cylinders)
    relaxed = relax(one.points, one.points, alike)
    impression = from_vector(IMPRESSION)
    minutia = Minutia(*(int(value) for value in impression.minutiae[0]))
    assert str(minutia.x) in repr(tuple(minutia))
    for value in (one, one.points, one.cylinders, alignment, relaxed, impression, minutia):
        assert not any(letter.isdigit() for letter in repr(value).partition(" at 0x")[0])
    assert evidence.coincident > 0
