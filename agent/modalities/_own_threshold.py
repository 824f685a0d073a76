"""A pipeline whose threshold a site chose itself, and says so."""

from __future__ import annotations

import msgspec

from agent.modalities._own import OwnPipeline
from protocol.messages import ModalityModel

TRAIT = "own-threshold"


class OwnThreshold(OwnPipeline):
    """Its profile carries the trait `own-threshold`, which the authority's policy refuses unless told otherwise."""

    @property
    def model(self) -> ModalityModel:
        """The model with the trait."""
        model = super().model
        return msgspec.structs.replace(model, traits=tuple(sorted({*model.traits_known, TRAIT})))
