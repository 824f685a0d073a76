"""The agent's libraries under its unit's directives: every network runs, and so does what makes code at run time.

Runs on the target with the agent's own interpreter; captures are made on the spot. JSON on standard output: each
library with `works`, or the error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Literal

import numpy as np

from agent.biometrics import FingerprintPipeline, Pipelines, Recording
from agent.biometrics._dlib import DlibEngine
from agent.biometrics.settings import FingerprintSettings
from hal import FingerprintImage


def _ridges() -> FingerprintImage:
    """Ridges nine pixels apart around a centre, 500 dots an inch."""
    down, across = np.mgrid[0:400, 0:320].astype(float)
    waves = np.sin(np.hypot(down - 180, across - 150) * 2 * np.pi / 9 + 2 * np.arctan2(down - 300, across - 150))
    return FingerprintImage((127 + 120 * waves).astype(np.uint8), 500, 0, 0)


def _fingerprint(extractor: Literal["neural", "fast"]) -> None:
    FingerprintPipeline(FingerprintSettings(extractor=extractor)).assess(_ridges())


def _face() -> None:
    engine = DlibEngine()
    engine.load()
    engine.detect(np.random.default_rng(1).integers(0, 255, (480, 640, 3), dtype=np.uint8))


def _voice() -> None:
    seconds = np.arange(48_000) / 16_000
    tone = sum(np.sin(2 * np.pi * pitch * seconds) for pitch in (110, 220, 330, 870, 2240))
    voice = Pipelines().voice
    voice.assess(Recording((3000 * tone * (1 + np.sin(seconds * 20))).astype(np.int16), 16_000))


def _usb() -> None:
    from usb.backend import libusb1

    if libusb1.get_backend() is None:
        raise OSError("libusb does not load")


def _microphone() -> None:
    """What a stream needs to be told of samples: a function of Python that C calls."""
    import sounddevice

    sounddevice._ffi.callback("PaStreamFinishedCallback", lambda _: None)


_TRIES: dict[str, Callable[[], None]] = {
    "leader": lambda: _fingerprint("neural"),
    "mindtct": lambda: _fingerprint("fast"),
    "face": _face,
    "voice": _voice,
    "usb": _usb,
    "microphone": _microphone,
}


def _outcome(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except Exception as error:  # noqa: BLE001 - whatever a library raises is the finding
        return f"{type(error).__name__}: {error}"
    return "works"


if __name__ == "__main__":
    json.dump({name: _outcome(attempt) for name, attempt in _TRIES.items()}, sys.stdout, indent=1)
