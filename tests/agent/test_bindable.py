"""Which pipelines offer an embedding to bind, and that it is what they match by."""

import numpy as np
import pytest

from agent.biometrics import FacePipeline, Features, Modality, Pipeline, VoicePipeline
from agent.errors import BiometricError
from agent.extension import Bindable, RefusesReplays
from agent.modalities._contained import contained
from agent.modalities.face import Face
from agent.modalities.fingerprint import Fingerprint
from agent.modalities.fingerprint_match import FingerprintMatch
from agent.modalities.voice import Voice
from agent.profile.commitment import parameters_for

RANDOM = np.random.default_rng(1)


def features(pipeline: Pipeline, count: int, size: int) -> list[Features]:
    made = RANDOM.normal(0, 2000, (count, size)).astype(np.int16)
    return [Features(pipeline.modality, pipeline.model, vector) for vector in made]


@pytest.mark.parametrize("modality", [Face({}), Face({"liveness": False}), Voice({}), Voice({"spoken_digits": False})])
def test_face_and_voice_can_be_bound_with_parameters_of_their_own(modality):
    pipeline = contained(modality, modality.name).pipeline()
    assert isinstance(pipeline, Bindable) and isinstance(pipeline, RefusesReplays)
    assert parameters_for(pipeline.code).n == 512


@pytest.mark.parametrize("modality", [Fingerprint({}), Fingerprint({"fingers": 2}), FingerprintMatch({})])
def test_fingerprints_are_released(modality):
    assert not isinstance(contained(modality, modality.name).pipeline(), Bindable)


def test_the_embedding_of_a_voice_is_what_its_cosine_is_of():
    pipeline = Voice({}).pipeline()
    inner = VoicePipeline()
    enrolled, probe = features(inner, 3, 192), features(inner, 1, 192)
    one, other = pipeline.embedding(enrolled), pipeline.embedding(probe)
    assert one.dtype == np.float32 and np.linalg.norm(one) == pytest.approx(1.0, abs=1e-6)
    lengths = [
        np.linalg.norm([each.vector.astype(float) for each in some], axis=1).mean() for some in (enrolled, probe)
    ]
    scale = np.prod([min(1.0, length / 32767) for length in lengths])
    score = inner.compare(tuple(each.vector for each in enrolled), tuple(each.vector for each in probe))
    assert float(one @ other) * scale == pytest.approx(score, abs=1e-4)


def test_a_centre_is_taken_off_descriptors_of_the_shipped_face_network():
    pipeline, inner = Face({}).pipeline(), FacePipeline()
    centre = np.load("agent/models/face_centre.npy")
    (made,) = features(inner, 1, 128)
    expected = made.vector / 16384 - centre
    assert pipeline.embedding([made]) == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)


def test_features_of_another_model_or_none_are_refused():
    pipeline = Voice({}).pipeline()
    with pytest.raises(BiometricError, match="another model"):
        pipeline.embedding([Features(Modality.VOICE, "other", np.ones(192, np.int16))])
    with pytest.raises(BiometricError, match="needs samples"):
        pipeline.embedding([])


class Flat:
    """A third party's pipeline whose embedding is none."""

    code, model = "flat", None

    def embedding(self, samples):
        return np.zeros(128, np.float32)

    examine = enrol = match = warm_up = None


class Odd:
    """The modality of `Flat`."""

    name, kind, alone, effort = "odd", "odd", False, Voice({}).effort

    def captures(self, sensor):
        return iter(())

    def pipeline(self):
        return Flat()


def test_an_embedding_of_a_third_party_that_has_no_direction_is_an_error_of_its_modality():
    pipeline = contained(Odd(), "odd").pipeline()
    assert pipeline.code == "flat" and isinstance(pipeline, Bindable)
    with pytest.raises(BiometricError, match="odd"):
        pipeline.embedding([])
