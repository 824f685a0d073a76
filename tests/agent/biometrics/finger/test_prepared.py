import gc

import pytest

from agent.biometrics import BiometricError
from agent.biometrics.finger.prepared import PreparedVectors
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
