"""Folders of samples of the shipped personas, and a matcher that knows who everybody is."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from agent.diagnostics.pictures import png
from simulators.personas import shipped_personas

IMPRESSIONS = 6


@pytest.fixture(scope="session")
def fingers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Impressions of three personas' fingers, of another quality each."""
    folder = tmp_path_factory.mktemp("fingers")
    for persona in shipped_personas()[:3]:
        (folder / persona.name).mkdir()
        for touch in range(IMPRESSIONS):
            pixels, dpi = persona.finger(touch, care=1.0 - 0.05 * touch)
            (folder / persona.name / f"{touch}.png").write_bytes(png(pixels, dpi))
    return folder


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of two personas' faces."""
    folder = tmp_path_factory.mktemp("faces")
    for persona in shipped_personas()[:2]:
        (folder / persona.name).mkdir()
        for second in range(5):
            cv2.imwrite(str(folder / persona.name / f"{second}.jpg"), persona.frame(second + 0.5))
    return folder


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits that three personas speak; skips where they have no voice."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    folder = tmp_path_factory.mktemp("voices")
    random = np.random.default_rng(0)
    for persona in shipped_personas()[:3]:
        (folder / persona.name).mkdir()
        for take in range(5):
            digits = "".join(map(str, random.integers(0, 10, 6)))
            pcm, rate = persona.say(digits, take)
            soundfile.write(folder / persona.name / f"{take}.flac", pcm, rate)
    return folder
