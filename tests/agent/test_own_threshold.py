from agent.biometrics.parameters import THRESHOLDS
from agent.biometrics.values import Modality
from agent.modalities.voice import Voice


def test_a_threshold_of_the_sites_own_is_used_and_told_to_the_authority():
    pipeline = Voice({"threshold": 0.61}).pipeline()
    assert pipeline.inner.threshold.accept == 0.61
    assert pipeline.model.traits_known == {"own-threshold"}


def test_the_shipped_threshold_needs_no_telling():
    pipeline = Voice({}).pipeline()
    assert pipeline.inner.threshold == THRESHOLDS[Modality.VOICE]
    assert not pipeline.model.traits_known
