"""`--set KEY=VALUE`: settings of the pipeline and of the evaluation itself, each known and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from agent.biometrics import FaceSettings, FingerprintSettings, Modality, VoiceSettings
from agent.config import Count, Seconds, Section
from agent.errors import ConfigError
from agent.evaluation.errors import EvaluationError

Dpi = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Seed = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Decibels = Annotated[float, msgspec.Meta(ge=-20, le=80)]


class OperationalSettings(Section, frozen=True):
    """Samples that enrol and that are presented together, the product's own by default, and how often it is done.

    `seed` fixes every random choice of an evaluation.
    """

    enrol: Count | None = None
    probe: Count | None = None
    repeats: Count = 10
    seed: Seed = 1


class FingerprintReading(Section, frozen=True):
    """`dpi` of the impressions, in place of what their files state."""

    dpi: Dpi | None = None


class FaceReading(Section, frozen=True):
    """Nothing to choose."""


class VoiceReading(Section, frozen=True):
    """Recordings cut to `seconds` of net speech, and a server room's fans added at `noise_snr_db`."""

    seconds: Seconds | None = None
    noise_snr_db: Decibels | None = None


Reading = FingerprintReading | FaceReading | VoiceReading
_OPERATIONAL = "operational"
_READING: Mapping[Modality, type[Reading]] = {
    Modality.FINGERPRINT: FingerprintReading,
    Modality.FACE: FaceReading,
    Modality.VOICE: VoiceReading,
}
_PIPELINE: Mapping[Modality, type[msgspec.Struct]] = {
    Modality.FINGERPRINT: FingerprintSettings,
    Modality.FACE: FaceSettings,
    Modality.VOICE: VoiceSettings,
}


@dataclass(frozen=True)
class Settings:
    """Everything that `--set` gave; `pipeline` goes to `make_pipeline` as it is."""

    reading: Reading
    pipeline: Mapping[str, str] = field(default_factory=dict)
    operational: OperationalSettings = field(default_factory=OperationalSettings)
    given: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, modality: Modality, pairs: Sequence[str]) -> Settings:
        """The settings in texts `KEY=VALUE`; raises `ConfigError` naming the keys that exist."""
        given = dict(_pair(text) for text in pairs)
        sections: dict[str, dict[str, str]] = {"reading": {}, "pipeline": {}, _OPERATIONAL: {}}
        for key, value in given.items():
            sections[_section(modality, key)][key.partition(".")[2]] = value
        reading = _convert(modality.value, sections["reading"], _READING[modality])
        operational = _convert(_OPERATIONAL, sections[_OPERATIONAL], OperationalSettings)
        return cls(reading, _with_hashes(modality, sections["pipeline"]), operational, given)


def known_keys(modality: Modality) -> list[str]:
    """Every key that an evaluation of the modality takes."""
    forms: list[tuple[str, type[msgspec.Struct]]] = [
        (modality.value, _PIPELINE[modality]),
        (modality.value, _READING[modality]),
        (_OPERATIONAL, OperationalSettings),
    ]
    return [f"{section}.{name}" for section, form in forms for name in form.__struct_fields__]


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not value:
        raise ConfigError(
            f"--set {text} is not of the form KEY=VALUE", remedy="Write for instance --set face.aligned=true."
        )
    return key, value


def _section(modality: Modality, key: str) -> str:
    known = known_keys(modality)
    if key not in known:
        raise ConfigError(
            f"{key} is no setting of an evaluation of {modality}", remedy=f"Settings that exist: {', '.join(known)}."
        )
    section, _, name = key.partition(".")
    if section == _OPERATIONAL:
        return section
    return "pipeline" if name in _PIPELINE[modality].__struct_fields__ else "reading"


def _convert(section: str, values: Mapping[str, str], form: type[Any]) -> Any:
    try:
        return msgspec.convert(dict(values), form, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"--set {section}: {error}", remedy="Correct the value.") from None


def _with_hashes(modality: Modality, values: Mapping[str, str]) -> dict[str, str]:
    """`values` and, for each file that the pipeline wants by path and SHA-256, the hash of the file that is there.

    A node pins the hash; an evaluation reports which file it was that it evaluated.
    """
    completed = dict(values)
    for name, path in values.items():
        hashed = f"{name}_sha256"
        if hashed in _PIPELINE[modality].__struct_fields__ and hashed not in values:
            completed[hashed] = _sha256(Path(path))
    return completed


def _sha256(path: Path) -> str:
    import hashlib

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}", remedy="Name a model file that can be read.") from None
