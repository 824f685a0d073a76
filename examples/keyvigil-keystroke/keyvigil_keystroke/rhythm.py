"""Typing rhythm: from keys to features, from features to a template and a distance.

Features are hold times (a key down until up) and latencies (one key down until the next is down) of a fixed phrase; the
distance is the scaled Manhattan distance of Killourhy and Maxion, "Comparing anomaly-detection algorithms for keystroke
dynamics" (DSN 2009).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.extension import BiometricError
from keyvigil_keystroke.keyboard import BACKSPACE, CHARACTERS, ENTER, KeyEvent

Vector = NDArray[np.int16]
"""Milliseconds: a hold for each character, then a latency between each two."""

LONGEST_PAUSE_MS = 1500
LONGEST_HOLD_MS = 800
SPREAD_FLOOR = 0.08
"""Share of a feature's mean below which no person's spread is believed; few samples understate it."""
SPREAD_FLOOR_MS = 8.0

THRESHOLD = 1.5
"""Distance at which acceptance ends, in mean spreads; chosen on simulated typists only, not those of `evaluate.py`."""
TYPICAL = 1.0
"""Distance of a genuine sample in the middle of the genuine ones, on the same typists."""
STRAY = 2.0
"""Distance beyond which a sample of an enrolment is not of the same hand as the others."""

_CODES = {code: character for character, code in CHARACTERS.items()}


@dataclass(frozen=True)
class Stroke:
    """One key: when it went down and up, in nanoseconds."""

    code: int
    down_ns: int
    up_ns: int


@dataclass(frozen=True)
class Typed:
    """Strokes in the order of going down; `broken` tells of a key whose release never came."""

    strokes: tuple[Stroke, ...]
    broken: bool = False

    @property
    def text(self) -> str:
        """What was typed; a key that a phrase cannot contain shows as a question mark."""
        return "".join(_CODES.get(stroke.code, "?") for stroke in self.strokes)

    @property
    def corrected(self) -> bool:
        """Whether the person took something back."""
        return any(stroke.code == BACKSPACE for stroke in self.strokes)


def strokes_of(events: Sequence[KeyEvent]) -> Typed:
    """Presses paired with their releases, Enter left out; the repetitions of a held key are none."""
    down: dict[int, int] = {}
    strokes: list[Stroke] = []
    for event in events:
        if event.pressed:
            down.setdefault(event.code, event.at_ns)
        elif event.code in down:
            strokes.append(Stroke(event.code, down.pop(event.code), event.at_ns))
    typed = sorted((stroke for stroke in strokes if stroke.code != ENTER), key=lambda stroke: stroke.down_ns)
    return Typed(tuple(typed), broken=bool({*down} - {ENTER}))


def vector_of(strokes: Sequence[Stroke]) -> Vector:
    """int16 `[2n - 1]` milliseconds of n strokes, each cut off at 32767."""
    down = np.array([stroke.down_ns for stroke in strokes], np.int64)
    up = np.array([stroke.up_ns for stroke in strokes], np.int64)
    milliseconds = np.concatenate([up - down, np.diff(down)]) / 1e6
    return np.clip(np.rint(milliseconds), 0, 32767).astype(np.int16)


def longest(vector: Vector) -> tuple[int, int]:
    """Longest hold and longest latency, in milliseconds."""
    keys = (len(vector) + 1) // 2
    return int(vector[:keys].max()), int(vector[keys:].max(initial=0))


@dataclass(frozen=True)
class Template:
    """Samples of one hand."""

    samples: tuple[Vector, ...]

    def distance(self, probe: Vector) -> float:
        """Mean over the features of |probe - mean| in units of the samples' mean absolute deviation."""
        samples = np.stack(self.samples).astype(float)
        mean = samples.mean(axis=0)
        spread = np.abs(samples - mean).mean(axis=0)
        floor = np.maximum(SPREAD_FLOOR * mean, SPREAD_FLOOR_MS)
        return float((np.abs(probe - mean) / np.maximum(spread, floor)).mean())

    def strays(self) -> int | None:
        """Index of the sample that is least like the others, if it is not of the same hand."""
        others = [Template(self.samples[:at] + self.samples[at + 1 :]) for at in range(len(self.samples))]
        distances = [rest.distance(sample) for rest, sample in zip(others, self.samples, strict=True)]
        worst = int(np.argmax(distances))
        return worst if distances[worst] > STRAY else None

    def to_bytes(self) -> bytes:
        """JSON of the samples."""
        return json.dumps([sample.tolist() for sample in self.samples]).encode()

    @classmethod
    def from_bytes(cls, data: bytes, features: int) -> Template:
        """The template of at least two samples of `features` numbers; raises `BiometricError` for any other bytes."""
        try:
            rows = json.loads(data)
            samples = tuple(np.array(row, np.int16) for row in rows)
            fits = len(samples) >= 2 and all(sample.shape == (features,) for sample in samples)
        except (ValueError, TypeError, OverflowError, RecursionError):
            fits = False
        if not fits:
            raise BiometricError("the typing template is damaged")
        return cls(samples)
