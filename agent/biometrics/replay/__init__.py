"""Captures that were given before: told from new ones by a digest of each capture, however the copy was disguised.

A `trace` is made of the raw capture, lives as long as its features and holds enough to be compared. A `digest` is what
is kept of it, some two thousand bytes. docs/biometrics/replay.md has the error rates; neither is ever logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

from agent.biometrics.errors import BiometricError
from agent.biometrics.values import Modality

__all__ = ["Recogniser", "recogniser"]


class Recogniser(Protocol):
    """One modality's way to recognise a capture."""

    def trace(self, capture: Any) -> bytes:
        """What a capture, as the modality's pipeline takes it, is compared by."""
        ...

    def digest(self, trace: bytes) -> bytes:
        """What is kept."""
        ...

    def replayed(self, past: Sequence[bytes], trace: bytes) -> bool:
        """Whether the capture is one of those whose digests are given; raises `BiometricError` for foreign digests."""
        ...

    def repeated(self, sitting: Sequence[bytes], trace: bytes) -> bool:
        """As `replayed`, for captures of one sitting."""
        ...


class _Recogniser:
    """A module of this package, whose errors become those of the agent."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._repeated = getattr(module, "repeated", module.replayed)

    def trace(self, capture: Any) -> bytes:
        return bytes(self._module.trace(capture))

    def digest(self, trace: bytes) -> bytes:
        return bytes(self._module.digest(trace)) if trace else b""

    def replayed(self, past: Sequence[bytes], trace: bytes) -> bool:
        return self._compared(self._module.replayed, past, trace)

    def repeated(self, sitting: Sequence[bytes], trace: bytes) -> bool:
        return self._compared(self._repeated, sitting, trace)

    def _compared(self, compare: Any, past: Sequence[bytes], trace: bytes) -> bool:
        try:
            return bool(trace) and bool(compare([one for one in past if one], trace))
        except ValueError as error:
            raise BiometricError(f"earlier captures cannot be compared with: {error}") from None


@cache
def recogniser(modality: Modality) -> Recogniser:
    """The recogniser of a modality; its libraries load with the first call."""
    match modality:
        case Modality.FINGERPRINT:
            from agent.biometrics.replay import finger

            return _Recogniser(finger)
        case Modality.FACE:
            from agent.biometrics.replay import face

            return _Recogniser(face)
        case Modality.VOICE:
            from agent.biometrics.replay import voice

            return _Recogniser(voice)
