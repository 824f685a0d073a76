"""Spoken digits in the byte form that lies beside a voice vector in a sealed template, and travels with a probe."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.digits._network import DIGITS, EMBEDDING
from agent.biometrics.errors import BiometricError

LONGEST: Final = 64
"""Digits in one recording at most."""

_FORM: Final = 1
_HEAD: Final = struct.Struct("<BBh")
_TAKE: Final = struct.Struct(f"<Bh{EMBEDDING}s")
_GAIN_SCALE: Final = 16.0
_NAME_SCALE: Final = 1024.0
_EMBEDDING_SCALE: Final = 127.0


@dataclass(frozen=True, eq=False)
class Takes:
    """Digits as one person said them, in order; `gain` and `names` are those of `Reading` for this very string.

    `digits` `[m]` (0..9), `names` `[m]`, `embeddings` `[m, 64]` of length one (within a hundredth, by rounding).
    """

    digits: NDArray[np.int64] = field(repr=False)
    names: NDArray[np.float32] = field(repr=False)
    embeddings: NDArray[np.float32] = field(repr=False)
    gain: float = field(repr=False)

    @property
    def complete(self) -> bool:
        """Whether every digit is among them."""
        return bool(np.isin(np.arange(DIGITS), self.digits).all())

    def to_bytes(self) -> bytes:
        """67 bytes a digit after a head of four."""
        gain = _int16(self.gain * _GAIN_SCALE)
        rounded = np.clip(np.rint(self.embeddings * _EMBEDDING_SCALE), -127, 127).astype(np.int8)
        rows = [
            _TAKE.pack(int(digit), _int16(float(name) * _NAME_SCALE), row.tobytes())
            for digit, name, row in zip(self.digits, self.names, rounded, strict=True)
        ]
        return _HEAD.pack(_FORM, len(rows), gain) + b"".join(rows)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The takes in `data`; raises `BiometricError` for anything that `to_bytes` does not write."""
        if len(data) < _HEAD.size:
            raise BiometricError("the spoken digits beside a voice cannot be read")
        form, count, gain = _HEAD.unpack_from(data)
        if form != _FORM or not 1 <= count <= LONGEST or len(data) != _HEAD.size + count * _TAKE.size:
            raise BiometricError("the spoken digits beside a voice cannot be read")
        rows = list(_TAKE.iter_unpack(data[_HEAD.size :]))
        digits = np.array([row[0] for row in rows], np.int64)
        embeddings = np.stack([np.frombuffer(row[2], np.int8) for row in rows]).astype(np.float32) / _EMBEDDING_SCALE
        if digits.max() >= DIGITS or not (np.linalg.norm(embeddings, axis=1) > 0.9).all():
            raise BiometricError("the spoken digits beside a voice cannot be read")
        names = np.array([row[1] for row in rows], np.float32) / _NAME_SCALE
        return cls(digits, names, embeddings, gain / _GAIN_SCALE)

    @classmethod
    def joined(cls, sides: Sequence[bytes]) -> Self | None:
        """All takes of a template's samples; None where no sample has any. Raises `BiometricError`."""
        parts = [cls.from_bytes(side) for side in sides if side]
        if not parts:
            return None
        return cls(
            np.concatenate([part.digits for part in parts]),
            np.concatenate([part.names for part in parts]),
            np.concatenate([part.embeddings for part in parts]),
            0.0,
        )


def _int16(value: float) -> int:
    return int(np.clip(round(value), -32768, 32767))
