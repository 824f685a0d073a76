"""Weak evidence: what a device that compares by itself says, of which nothing can be verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocol.messages import ModalityModel, SensorIdentity

MATCH_ONLY_MODALITIES = frozenset({"fingerprint-match"})
"""Modalities that are weak whatever their sensor is said to be."""


def is_weak(modality: str, sensor: SensorIdentity) -> bool:
    """Whether a modality is weak by what it is, or by what its sensor was pinned as."""
    return modality in MATCH_ONLY_MODALITIES or sensor.weak


def split(
    models: Sequence[ModalityModel], sensors: Mapping[ModalityModel, SensorIdentity]
) -> tuple[list[ModalityModel], list[ModalityModel]]:
    """The strong ones of `models`, and the weak ones that add something to them.

    A weak one of the same kind of sensor as a strong one, or as another weak one, is the same trait a second time.
    """
    strong = [model for model in models if not is_weak(model.modality, sensors[model])]
    weak = {sensors[model].kind: model for model in models if model not in strong}
    covered = {sensors[model].kind for model in strong}
    return strong, [model for kind, model in weak.items() if kind not in covered]
