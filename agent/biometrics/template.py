"""Templates: several samples of one person in one modality, and their strict byte form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.biometrics import minutiae, parameters
from agent.biometrics.errors import BiometricError, ModelMismatch
from agent.biometrics.values import SIDE_BYTES, Features, Modality

_FORM = 2
_LONGEST = 1_048_576
_DIMENSIONS = (64, 1024)


class _Form(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """Wire form of a template (MessagePack array); vectors are int16 little-endian."""

    form: int
    modality: Modality
    model: str
    parameters: str
    vectors: list[bytes]
    sides: list[bytes]


@dataclass(frozen=True, eq=False)
class Template:
    """Features of one person: for each sample its `Features.vector` and `Features.side`; secret, to be kept sealed."""

    modality: Modality
    model: str
    parameters: str
    vectors: tuple[NDArray[np.int16], ...] = field(repr=False)
    sides: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def of(cls, samples: Sequence[Features], least: int | None = None) -> Self:
        """A template of a modality's least to greatest number of samples; raises `BiometricError`, `ModelMismatch`.

        `least` is another least number, for what is presented and not enrolled.
        """
        if not samples:
            raise BiometricError("a template needs samples")
        first = samples[0]
        if any((one.modality, one.model) != (first.modality, first.model) for one in samples):
            raise ModelMismatch("the samples of one template were made by different models")
        vectors = _checked(first.modality, [sample.vector for sample in samples], least)
        sides = _checked_sides([sample.side for sample in samples])
        return cls(first.modality, first.model, parameters.VERSION, vectors, sides)

    def to_bytes(self) -> bytes:
        """The byte form that `from_bytes` reads."""
        vectors = [vector.astype("<i2").tobytes() for vector in self.vectors]
        return msgspec.msgpack.encode(
            _Form(_FORM, self.modality, self.model, self.parameters, vectors, list(self.sides))
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The template in `data`; raises `BiometricError` for anything that `to_bytes` does not write."""
        if len(data) > _LONGEST:
            raise BiometricError("a template is longer than any template can be")
        try:
            form = msgspec.msgpack.decode(data, type=_Form)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise BiometricError("a template cannot be read") from None
        odd = any(len(vector) % 2 for vector in form.vectors)
        if form.form != _FORM or odd or len(form.sides) != len(form.vectors):
            raise BiometricError("a template has another form than this version reads")
        vectors = [np.frombuffer(vector, dtype="<i2").astype(np.int16) for vector in form.vectors]
        checked = _checked(form.modality, vectors)
        return cls(form.modality, form.model, form.parameters, checked, _checked_sides(form.sides))

    def require_comparable(self, probe: Features) -> None:
        """Raise `ModelMismatch` unless `probe` was made by the same model under the same parameters.

        Raises `BiometricError` for another modality or a malformed vector.
        """
        if self.modality is not probe.modality:
            raise BiometricError(f"a {probe.modality} capture cannot be compared with a {self.modality} template")
        if self.model != probe.model or self.parameters != parameters.VERSION:
            raise ModelMismatch(f"the {self.modality} template was made by another model or other parameters")
        check_vector(probe.modality, probe.vector)
        if self.modality is not Modality.FINGERPRINT and len(probe.vector) != len(self.vectors[0]):
            raise ModelMismatch(f"the {self.modality} template has another length than the capture's features")


def check_vector(modality: Modality, vector: NDArray[np.int16]) -> None:
    """Raise `BiometricError` unless the vector has the form of its modality."""
    if vector.dtype != np.int16 or vector.ndim != 1:
        raise BiometricError(f"a {modality} vector is not int16")
    if modality is Modality.FINGERPRINT:
        minutiae.check_vector(vector)
    elif not _DIMENSIONS[0] <= len(vector) <= _DIMENSIONS[1] or not vector.any():
        raise BiometricError(f"a {modality} vector has a wrong length or no content")


def _checked(
    modality: Modality, vectors: Sequence[NDArray[np.int16]], least: int | None = None
) -> tuple[NDArray[np.int16], ...]:
    least = parameters.SAMPLES_MINIMUM[modality] if least is None else least
    most = parameters.SAMPLES_MAXIMUM[modality]
    if not least <= len(vectors) <= most:
        raise BiometricError(f"a {modality} template needs {least} to {most} samples, not {len(vectors)}")
    for vector in vectors:
        check_vector(modality, vector)
    if modality is not Modality.FINGERPRINT and len({len(vector) for vector in vectors}) > 1:
        raise BiometricError(f"the vectors of a {modality} template differ in length")
    return tuple(vectors)


def _checked_sides(sides: Sequence[bytes]) -> tuple[bytes, ...]:
    if any(len(side) > SIDE_BYTES for side in sides):
        raise BiometricError("a template carries more beside a vector than any sample can")
    return tuple(sides)
