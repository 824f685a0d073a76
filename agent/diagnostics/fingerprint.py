"""How good a fingerprint reader's picture is: contrast, and how much of the field a finger covers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from agent.diagnostics.findings import Finding, Severity
from hal import FingerprintImage

PLACE = "Place a finger flat on the reader."
LIFT = "Lift the finger."

_BLOCK = 16
_RIDGED_STD = 20.0
_LEAST_COVERED = 0.25
_LEAST_CONTRAST = 40.0


@dataclass(frozen=True)
class ImpressionMeasure:
    """`contrast` is the spread between dark and light (5th to 95th percentile of grey), `covered` the share of the
    field that has ridges on it."""

    width: int
    height: int
    dpi: int
    contrast: float
    covered: float


def measure(image: FingerprintImage) -> ImpressionMeasure:
    """What one impression tells."""
    pixels = image.pixels
    low, high = np.percentile(pixels, [5, 95])
    height, width = (size - size % _BLOCK for size in pixels.shape)
    blocks = pixels[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    spread = blocks.astype(np.float32).std(axis=(1, 3))
    covered = float((spread > _RIDGED_STD).mean()) if spread.size else 0.0
    return ImpressionMeasure(
        pixels.shape[1], pixels.shape[0], image.dpi, round(float(high - low), 1), round(covered, 3)
    )


def judge(measured: ImpressionMeasure, subject: str) -> Iterator[Finding]:
    """What is to be said of a reader that took a picture."""
    what = (
        f"{measured.width}x{measured.height} pixels at {measured.dpi} dpi, {measured.covered:.0%} covered by a finger"
    )
    yield Finding("fingerprint.image", Severity.OK, what, subject=subject, facts=asdict(measured))
    if measured.covered < _LEAST_COVERED:
        remedy = "Place the middle of the finger, not its tip, flat on the glass; clean the glass."
        what = f"the finger covers {measured.covered:.0%} of the field"
        yield Finding("fingerprint.covered", Severity.WARNING, what, remedy, subject)
    elif measured.contrast < _LEAST_CONTRAST:
        remedy = "Clean the glass; moisten a dry finger, dry a wet one, and press a little more."
        what = f"the ridges are faint (contrast {measured.contrast:g} of 255)"
        yield Finding("fingerprint.contrast", Severity.WARNING, what, remedy, subject)
