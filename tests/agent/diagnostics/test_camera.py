from __future__ import annotations

import numpy as np
import pytest

from agent.diagnostics import Severity, camera
from hal import Frame

STEP_NS = 100_000_000


def scene(level: float = 128.0, contrast: float = 60.0, seed: int = 1) -> np.ndarray:
    """Noise around a level: sharp, and never the same twice."""
    grey = np.random.default_rng(seed).normal(level, contrast, (120, 160, 1)).clip(0, 255).astype(np.uint8)
    return np.repeat(grey, 3, axis=2)


def frames(count: int = 5, every: int = 1, **how: float) -> list[Frame]:
    return [Frame(scene(seed=n, **how), 1 + n * every, n * STEP_NS) for n in range(count)]


def said(shots: list[Frame]) -> dict[str, Severity]:
    return {found.id: found.severity for found in camera.judge(camera.measure(shots), "face")}


def test_a_good_camera_is_well() -> None:
    measured = camera.measure(frames())
    assert (measured.width, measured.height, measured.frames) == (160, 120, 5)
    assert measured.fps == 10.0
    assert (measured.gaps, measured.still) == (0, False)
    assert said(frames()) == {"camera.frames": Severity.OK}


@pytest.mark.parametrize(
    ("how", "identity", "severity"),
    [
        ({"level": 1, "contrast": 1}, "camera.light", Severity.ERROR),
        ({"level": 30, "contrast": 10}, "camera.light", Severity.WARNING),
        ({"level": 230, "contrast": 10}, "camera.light", Severity.WARNING),
        ({"level": 250, "contrast": 20}, "camera.clipping", Severity.WARNING),
        ({"level": 128, "contrast": 0.6}, "camera.sharpness", Severity.WARNING),
    ],
)
def test_what_is_wrong_with_a_picture_is_said(how: dict[str, float], identity: str, severity: Severity) -> None:
    assert said(frames(**how))[identity] is severity


def test_pictures_that_did_not_arrive_are_counted() -> None:
    assert camera.measure(frames(every=4)).gaps == 12
    assert said(frames(every=4))["camera.gaps"] is Severity.WARNING


def test_a_picture_that_never_changes_is_no_live_camera() -> None:
    picture = scene()
    shots = [Frame(picture.copy(), n, n * STEP_NS) for n in range(5)]
    assert camera.measure(shots).still
    assert said(shots)["camera.still"] is Severity.WARNING


def test_a_slow_camera_and_a_single_picture() -> None:
    slow = [Frame(scene(seed=n), n, n * 10 * STEP_NS) for n in range(3)]
    assert said(slow)["camera.rate"] is Severity.WARNING
    assert camera.measure(frames(1)).fps == 0.0
    assert said(frames(1))["camera.rate"] is Severity.WARNING


def test_every_trouble_has_a_remedy() -> None:
    for how in ({"level": 1, "contrast": 1}, {"level": 250, "contrast": 20}, {"level": 30, "contrast": 0.5}):
        for found in camera.judge(camera.measure(frames(1, **how)), "face"):
            assert found.severity is Severity.OK or found.remedy
