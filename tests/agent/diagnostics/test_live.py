from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from agent.diagnostics.live import LiveView, live_targets, of_picture, of_sound
from agent.diagnostics.targets import Target
from hal import AudioBlock, Frame
from simulators.devices.camera_stream import CameraStream


def block(level: int) -> AudioBlock:
    return AudioBlock(np.tile(np.array([level, -level], np.int16), 160), 16_000, 0, 0)


def test_the_meter_follows_the_level() -> None:
    shares = [of_sound([block(level)], 0).share for level in (0, 30, 300, 3000, 30_000)]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.9 < shares[-1] <= 1
    assert not of_sound([block(3000)], 0).trouble


def test_clipping_and_losses_are_trouble() -> None:
    assert "clipping" in of_sound([block(32767)], 0).text
    assert of_sound([block(32767)], 0).trouble
    assert "3 times" in of_sound([block(300)], 3).text


def test_a_picture_is_judged_as_it_comes() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    good, black = of_picture(Frame(noise, 1, 0), 15.0), of_picture(Frame(np.zeros_like(noise), 1, 0), 15.0)
    assert good.share > black.share == 0
    assert (good.trouble, black.trouble) == (False, True)
    assert "black" in black.text


def test_a_camera_is_shown_live_and_one_that_is_missing_says_so() -> None:
    noise = np.random.default_rng(1)
    console = Console(file=io.StringIO(), width=160)
    with CameraStream(fps=20) as stream:
        stream.show(lambda _: noise.integers(0, 255, (480, 640, 3), dtype=np.uint8))
        there = Target("face", "opencv", {"source": stream.url})
        gone = Target("other", "opencv", {"source": "http://127.0.0.1:1/x.mjpg"})
        readings = LiveView([there, gone]).show(console, 1.0)
    assert "sharpness" in readings["face (opencv)"].text
    assert readings["other (opencv)"].trouble
    assert "→" in readings["other (opencv)"].text
    assert "face (opencv)" in console.file.getvalue()


def test_only_cameras_and_microphones_are_shown() -> None:
    targets = [Target(name, name, {}) for name in ("opencv", "portaudio", "tpm2", "uru4000", "nosuch")]
    assert [target.name for target in live_targets(targets)] == ["opencv", "portaudio"]
