"""The part of the policy that weighs network behaviour and the worth of biometric models."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import msgspec

from protocol.signals import Severity

_HOUR_S = 3600.0
_DAY_S = 86400.0
MOST_PREFIXES = 64

Prefix = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Worth(StrEnum):
    """What a match by a model is worth: `full` stands by itself; `limited` and `released` need a `full` one beside.

    `limited`: the secret bound to it carries fewer bits than a thief of the record has to be kept from guessing.
    `released`: a comparison lets the secret go, so that nothing of the biometrics protects it.
    """

    FULL = "full"
    LIMITED = "limited"
    RELEASED = "released"


class BehaviourRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a signal of each severity takes from the behaviour term (thousandths, at full confidence), and who counts.

    The loss halves every `half_life_s`. Peers count where `peer_quorum` of them report the same kind. With
    `tap_confirms` a tap's critical signal of at least `hostile_confidence` (thousandths) confirms hostile behaviour.
    """

    low: int = 100
    medium: int = 250
    high: int = 500
    critical: int = 1000
    half_life_s: float = _DAY_S
    peer_quorum: int = 2
    tap_confirms: bool = True
    hostile_confidence: int = 800

    def loss(self, severity: Severity) -> int:
        """Thousandths that a fresh signal of full confidence takes."""
        value: int = getattr(self, severity.value)
        return value


class WorthRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The worth of models by the beginning of their names; the longest that fits decides, an unnamed one is `full`."""

    models: dict[Prefix, Worth] = msgspec.field(
        default_factory=lambda: {
            "dlib-resnet": Worth.LIMITED,
            "leader/": Worth.RELEASED,
            "mindtct/": Worth.RELEASED,
            "match-only-reader": Worth.RELEASED,
        }
    )

    def of(self, model: str) -> Worth:
        """The worth of one model."""
        fitting = [prefix for prefix in self.models if model.startswith(prefix)]
        return self.models[max(fitting, key=len)] if fitting else Worth.FULL


RANGES: dict[str, tuple[float, float, float]] = {
    "behaviour.low": (0, 1000, 0),
    "behaviour.medium": (0, 1000, 0),
    "behaviour.high": (0, 1000, 0),
    "behaviour.critical": (0, 1000, 0),
    "behaviour.half_life_s": (_HOUR_S, 30 * _DAY_S, 1),
    "behaviour.peer_quorum": (2, 20, 2),
    "behaviour.hostile_confidence": (500, 1000, 500),
    "caps.hostile": (0, 500, 0),
    "caps.default_face": (0, 800, 0),
}
"""Lowest and highest value of each key, and the lowest under a lab policy."""

ORDERED = (
    ("behaviour.low", "behaviour.medium"),
    ("behaviour.medium", "behaviour.high"),
    ("behaviour.high", "behaviour.critical"),
)
"""Pairs of keys of which the first may not be above the second."""


def worth_problems(rules: WorthRules) -> Iterator[str]:
    """What is wrong with the worth of models."""
    if len(rules.models) > MOST_PREFIXES:
        yield f"worth.models names more than {MOST_PREFIXES} beginnings of names"
    if not all(prefix.isprintable() for prefix in rules.models):
        yield "worth.models: beginnings of names must be printable"
