"""A threshold of the site's own: it decides, and the authority is told."""

from __future__ import annotations

import pytest

from agent.modalities.face import Face
from agent.modalities.fingerprint import Fingerprint
from agent.modalities.voice import Voice

MODALITIES = {Fingerprint: 2.5, Face: 0.6, Voice: 0.61}


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_threshold_of_the_sites_own_is_used_and_told_to_the_authority(modality) -> None:
    shipped, own = modality({}).pipeline(), modality({"threshold": MODALITIES[modality]}).pipeline()
    assert own.inner.threshold.accept == MODALITIES[modality] > shipped.inner.threshold.accept
    assert own.inner.threshold.typical > own.inner.threshold.accept
    assert own.model.traits_known - shipped.model.traits_known == {"own-threshold"}


@pytest.mark.parametrize(("modality", "own"), [(Face, "model"), (Voice, "centre")])
def test_a_network_or_centre_of_the_sites_own_is_told_to_the_authority(modality, own: str) -> None:
    """One that makes everybody alike accepts everybody at the shipped threshold."""
    shipped = modality({}).pipeline()
    brought = modality({own: "own.file", f"{own}_sha256": "a" * 64}).pipeline()
    assert brought.model.traits_known - shipped.model.traits_known == {"own-model"}


def test_the_usual_traits_are_those_of_liveness() -> None:
    assert {each({}).pipeline().model.traits_known for each in MODALITIES} == {
        frozenset(),
        frozenset({"gestures"}),
        frozenset({"spoken-digits"}),
    }


def test_without_liveness_there_is_no_trait() -> None:
    assert not Face({"liveness": False}).pipeline().model.traits_known
    assert not Voice({"spoken_digits": False}).pipeline().model.traits_known
