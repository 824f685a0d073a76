"""How good a camera's pictures are: rate, gaps, light, sharpness, clipping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from agent.diagnostics.findings import Finding, Severity
from hal import Camera, Deadline, Frame, TimedOut

FRAMES = 20
SECONDS = 3.0
"""A measurement ends with either."""

_COVERED, _DARK, _BRIGHT = 8.0, 45.0, 210.0
_CLIPPED_SHARE = 0.2
_BLURRED = 15.0
_SLOW_FPS = 5.0
_MEASURE_WIDTH = 640
_BLACK, _WHITE = 2, 253


@dataclass(frozen=True)
class Light:
    """One picture: `brightness` 0 to 255 (mean grey), `sharpness` as variance of the Laplacian at 640 pixels of width,
    `dark` and `burnt` the shares of pixels at the ends of the scale."""

    brightness: float
    sharpness: float
    dark: float
    burnt: float


@dataclass(frozen=True)
class CameraMeasure:
    """Some seconds of pictures. `gaps` counts pictures of the camera's that did not reach us; `still` tells that all
    were the same to the bit, which no live sensor gives."""

    width: int
    height: int
    frames: int
    fps: float
    gaps: int
    still: bool
    light: Light


def light_of(frame: Frame) -> Light:
    """What one picture tells."""
    grey = cv2.cvtColor(frame.bgr, cv2.COLOR_BGR2GRAY)
    dark, burnt = float((grey <= _BLACK).mean()), float((grey >= _WHITE).mean())
    scale = _MEASURE_WIDTH / grey.shape[1]
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    sharpness = float(cv2.Laplacian(small, cv2.CV_64F).var())
    return Light(round(float(grey.mean()), 1), round(sharpness, 1), round(dark, 3), round(burnt, 3))


def measure(frames: Iterable[Frame]) -> CameraMeasure:
    """What at least one picture tells; the rate needs two. No more than two pictures are held at a time."""
    stream = iter(frames)
    first = last = next(stream)
    came, still = 0, True
    for last in stream:
        came += 1
        still = still and np.array_equal(first.bgr, last.bgr)
    seconds = (last.captured_ns - first.captured_ns) / 1e9
    return CameraMeasure(
        width=first.bgr.shape[1],
        height=first.bgr.shape[0],
        frames=came + 1,
        fps=round(came / seconds, 1) if seconds > 0 else 0.0,
        gaps=max(0, last.sequence - first.sequence - came),
        still=still and came > 0,
        light=light_of(last),
    )


def pictures(camera: Camera, deadline: Deadline, count: int = FRAMES, seconds: float = SECONDS) -> Iterator[Frame]:
    """Up to `count` pictures of up to `seconds`, at least one; raises what the camera raises before the first."""
    yield camera.read(deadline)
    end = deadline.within(seconds)
    for _ in range(count - 1):
        try:
            yield camera.read(end)
        except TimedOut:
            return


def judge(measured: CameraMeasure, subject: str) -> Iterator[Finding]:
    """What is to be said of a camera."""
    light = measured.light
    facts = {name: value for name, value in asdict(measured).items() if name != "light"} | asdict(light)
    what = f"{measured.width}x{measured.height} at {measured.fps:g} frames a second"
    yield Finding("camera.frames", Severity.OK, what, subject=subject, facts=facts)
    yield from (finding(subject) for finding in _flow(measured))
    yield from (finding(subject) for finding in _picture(light))


_Said = Callable[[str], Finding]


def _say(identity: str, severity: Severity, what: str, remedy: str) -> _Said:
    return lambda subject: Finding(identity, severity, what, remedy, subject)


def _flow(measured: CameraMeasure) -> Iterator[_Said]:
    if measured.frames < 2 or measured.fps < _SLOW_FPS:
        remedy = 'Use a port without a hub, another pixel format (fourcc = "MJPG"), or more light.'
        yield _say("camera.rate", Severity.WARNING, f"only {measured.fps:g} frames a second", remedy)
    if measured.gaps > measured.frames:
        remedy = "The machine is too busy or the camera too fast for it: ask for a lower fps in the camera's options."
        yield _say("camera.gaps", Severity.WARNING, f"{measured.gaps} pictures did not arrive", remedy)
    if measured.still:
        remedy = "Move before the camera; if the picture stays, it is no live camera, or its stream is stuck."
        yield _say("camera.still", Severity.WARNING, "every picture is the same to the bit", remedy)


def _picture(light: Light) -> Iterator[_Said]:
    if light.brightness < _COVERED:
        yield _say(
            "camera.light", Severity.ERROR, "the picture is black", "Take the cover off the lens, or make light."
        )
        return
    if light.brightness < _DARK:
        what = f"the picture is dark (mean {light.brightness:g} of 255)"
        yield _say("camera.light", Severity.WARNING, what, "Put light on the face, from the side of the camera.")
    if light.brightness > _BRIGHT:
        what = f"the picture is too bright (mean {light.brightness:g} of 255)"
        yield _say("camera.light", Severity.WARNING, what, "Turn the camera away from the window or lamp.")
    if max(light.burnt, light.dark) > _CLIPPED_SHARE:
        what = f"{light.burnt:.0%} of the picture is burnt out and {light.dark:.0%} black"
        yield _say("camera.clipping", Severity.WARNING, what, "Lessen the contrast: no window behind the person.")
    if light.sharpness < _BLURRED:
        what = f"the picture is blurred (sharpness {light.sharpness:g})"
        yield _say("camera.sharpness", Severity.WARNING, what, "Clean the lens, set the focus, and hold still.")


def troubles_of(light: Light) -> list[str]:
    """What is wrong with one picture, in words."""
    return [finding("").what for finding in _picture(light)]
