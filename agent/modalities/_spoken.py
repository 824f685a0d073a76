"""The voice with digits: nothing is taken of which nobody knows what should have been said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.modalities._own import BindablePipeline
from agent.pipelines import Examined, Purpose

_NOT_DRAWN = "The authority asked for no digits. Bring authority and node to one version."


@dataclass(frozen=True)
class SpokenPipeline(BindablePipeline):
    """A pipeline that takes a recording only with the digits that must be heard in it."""

    def examine(self, captures: Sequence[Any], purpose: Purpose) -> Examined:
        """Features, or the reason for a refusal; a recording without digits is refused too."""
        if not all(utterance.digits for utterance in captures):
            return Examined(0, _NOT_DRAWN)
        return super().examine(captures, purpose)
