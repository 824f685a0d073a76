"""What the samples of a subject are, per modality, and how each becomes the capture that a pipeline takes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from agent.biometrics import Modality, Recording
from agent.evaluation import pictures, sounds
from agent.evaluation.folder import SubjectFolder
from agent.evaluation.settings import FingerprintReading, Settings, VoiceReading

Loader = Callable[[], Any]
"""Makes one capture when it is wanted, so that one at a time is in memory; raises `LeftOut`."""


@dataclass(frozen=True)
class Material:
    """The captures of one subject, and in one phrase what they are."""

    kind: str
    loaders: Sequence[Loader]


def suffixes(modality: Modality) -> Collection[str]:
    """The endings of the files that are read."""
    return _SUFFIXES[modality]


def material(modality: Modality, subject: SubjectFolder, settings: Settings, seed: int) -> Material:
    """The captures in a subject's folder."""
    return _MAKERS[modality](subject, settings, seed)


def _impressions(subject: SubjectFolder, settings: Settings, seed: int) -> Material:
    del seed
    reading = settings.reading
    dpi = reading.dpi if isinstance(reading, FingerprintReading) else None
    return Material("impressions", [partial(pictures.impression, path, dpi) for path in subject.files])


def _pictures(subject: SubjectFolder, settings: Settings, seed: int) -> Material:
    del seed
    aligned = settings.pipeline.get("aligned", "").lower() in {"true", "1"}
    return Material("pictures", [partial(pictures.face, path, enlarge=not aligned) for path in subject.files])


def _sounds(subject: SubjectFolder, settings: Settings, seed: int) -> Material:
    reading = settings.reading
    chosen = (reading.seconds, reading.noise_snr_db) if isinstance(reading, VoiceReading) else (None, None)
    prepare = partial(_prepared, sounds.Preparation(*chosen))
    own = zlib.crc32(subject.name.encode(), seed)
    if not sounds.are_isolated_digits(subject.files):
        loaders = [partial(prepare, own + n, sounds.read, path) for n, path in enumerate(subject.files)]
        return Material("recordings", loaders)
    strings = enumerate(sounds.digit_strings(subject.files, own))
    return Material(
        "digit strings", [partial(prepare, own + n, sounds.spoken_string, files, own + n) for n, files in strings]
    )


def _prepared(preparation: sounds.Preparation, seed: int, make: Callable[..., Recording], *arguments: Any) -> Recording:
    return preparation.apply(make(*arguments), seed)


_SUFFIXES: Mapping[Modality, Collection[str]] = {
    Modality.FINGERPRINT: pictures.IMPRESSIONS,
    Modality.FACE: pictures.PICTURES,
    Modality.VOICE: sounds.SOUNDS,
}
_MAKERS: Mapping[Modality, Callable[[SubjectFolder, Settings, int], Material]] = {
    Modality.FINGERPRINT: _impressions,
    Modality.FACE: _pictures,
    Modality.VOICE: _sounds,
}
