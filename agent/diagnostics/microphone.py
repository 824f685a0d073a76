"""How good a microphone's sound is: level, clipping, offset, noise floor, lost samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from agent.diagnostics.findings import Finding, Severity
from hal import AudioBlock, Deadline, Microphone

SECONDS = 2.0
FULL_SCALE = 32768.0
SILENCE_DBFS = -120.0
"""What stands for the level of digital silence."""

_QUIET_DBFS = -75.0
_LOUD_ROOM_DBFS = -40.0
_CLIPPED_SHARE = 0.001
_OFFSET_SHARE = 0.02
_FRAME_S = 0.02
_FLOOR_PERCENTILE = 10

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class SoundMeasure:
    """Levels in dB of full scale (0 is the loudest sine's peak); `clipped` is a share of samples, `offset` a share of
    full scale; `lost` counts blocks before which samples were lost."""

    rate: int
    seconds: float
    level_dbfs: float
    peak_dbfs: float
    floor_dbfs: float
    clipped: float
    offset: float
    lost: int


def measure(blocks: Sequence[AudioBlock]) -> SoundMeasure:
    """What at least one block tells. What was lost before the first block was lost before we listened."""
    rate = blocks[0].rate
    pcm = np.concatenate([block.pcm for block in blocks])
    return SoundMeasure(
        rate=rate,
        seconds=round(len(pcm) / rate, 2),
        level_dbfs=level(pcm),
        peak_dbfs=_decibels(float(np.abs(pcm.astype(np.int32)).max(initial=0)) / FULL_SCALE),
        floor_dbfs=_floor(pcm, rate),
        clipped=round(float((np.abs(pcm.astype(np.int32)) >= 32767).mean()) if len(pcm) else 0.0, 5),
        offset=round(float(pcm.mean()) / FULL_SCALE if len(pcm) else 0.0, 5),
        lost=sum(block.overflow for block in blocks[1:]),
    )


def level(pcm: Samples) -> float:
    """RMS in dBFS of int16 `[n]`, offset removed."""
    if not len(pcm):
        return SILENCE_DBFS
    centred = pcm.astype(np.float64) - pcm.mean()
    return _decibels(float(np.sqrt((centred**2).mean())) / FULL_SCALE)


def record(microphone: Microphone, deadline: Deadline, seconds: float = SECONDS) -> list[AudioBlock]:
    """Blocks of `seconds` of sound; raises `TimedOut` at the deadline, `Disconnected`."""
    blocks: list[AudioBlock] = []
    have = 0
    with closing(cast(Any, microphone.blocks(deadline))) as stream:
        for block in stream:
            blocks.append(block)
            have += len(block.pcm)
            if have >= seconds * block.rate:
                break
    return blocks


def judge(measured: SoundMeasure, subject: str) -> Iterator[Finding]:
    """What is to be said of a microphone."""
    what = f"level {measured.level_dbfs:.0f} dBFS, noise floor {measured.floor_dbfs:.0f} dBFS, {measured.rate} Hz"
    yield Finding("microphone.level", Severity.OK, what, subject=subject, facts=asdict(measured))
    yield from (finding(subject) for finding in _troubles(measured))


_Said = Callable[[str], Finding]


def _say(identity: str, severity: Severity, what: str, remedy: str) -> _Said:
    return lambda subject: Finding(identity, severity, what, remedy, subject)


def _troubles(measured: SoundMeasure) -> Iterator[_Said]:
    if measured.peak_dbfs <= SILENCE_DBFS:
        remedy = "Unmute the input and choose the right one: `alsamixer -V capture`, or `pactl list sources short`."
        yield _say("microphone.silent", Severity.ERROR, "nothing but digital silence arrives", remedy)
    elif measured.level_dbfs < _QUIET_DBFS:
        remedy = "Raise the capture gain (`alsamixer -V capture`) and speak within an arm's length."
        yield _say("microphone.quiet", Severity.WARNING, f"very quiet ({measured.level_dbfs:.0f} dBFS)", remedy)
    if measured.clipped > _CLIPPED_SHARE:
        what = f"{measured.clipped:.1%} of the samples are clipped"
        yield _say("microphone.clipping", Severity.WARNING, what, "Lower the capture gain: `alsamixer -V capture`.")
    if abs(measured.offset) > _OFFSET_SHARE:
        what = f"a constant offset of {measured.offset:.1%} of full scale"
        yield _say("microphone.offset", Severity.WARNING, what, "The input or its supply is faulty: try another one.")
    if measured.floor_dbfs > _LOUD_ROOM_DBFS:
        what = f"the room or the line is loud even between sounds ({measured.floor_dbfs:.0f} dBFS)"
        yield _say("microphone.noise", Severity.WARNING, what, "Use a headset, or go away from the fans.")
    if measured.lost:
        remedy = "The machine or its sound server is overloaded: stop what burdens it, or name the device itself."
        yield _say("microphone.lost", Severity.WARNING, f"samples were lost {measured.lost} times", remedy)


def _floor(pcm: Samples, rate: int) -> float:
    """Level of the quietest tenth of 20 ms frames."""
    size = max(1, int(rate * _FRAME_S))
    frames = [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]
    return (
        round(float(np.percentile([level(frame) for frame in frames], _FLOOR_PERCENTILE)), 1) if frames else level(pcm)
    )


def _decibels(share: float) -> float:
    return round(max(SILENCE_DBFS, 20 * math.log10(share)), 1) if share > 0 else SILENCE_DBFS
