"""Whether a second camera is one of infrared, and whether the light of its emitter comes and goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from agent.diagnostics import camera
from agent.diagnostics.findings import Finding, Severity
from agent.diagnostics.targets import WITHOUT_INFRARED
from hal import Camera, Capability, DeviceError, Frame, NotFound

STEP = 6.0
"""Grey levels of the whole picture's mean by which a lit one differs."""


def examine(device: Camera, frames: Iterable[Frame], subject: str, *, strobe: bool) -> Iterator[Finding]:
    """What is to be said of an infrared camera; its light is judged by the brightest of the pictures."""
    if Capability.INFRARED not in device.info.capabilities:
        remedy = "Name the other node of the module under [infrared]; `keyvigil devices` tells them apart."
        yield Finding("infrared.kind", Severity.ERROR, "this camera sees colour, and no infrared", remedy, subject)
        return
    extremes = _Extremes()
    measured = camera.measure(extremes.watching(frames))
    yield from camera.judge(replace(measured, light=camera.light_of(extremes.lit)), subject)
    yield _strobing(extremes.light, subject, strobe=strobe)


def remedy_of(error: DeviceError) -> str:
    """What to do about an infrared camera that cannot be opened."""
    return f"{error.remedy} {WITHOUT_INFRARED}".lstrip() if isinstance(error, NotFound) else error.remedy


class _Extremes:
    """The brightest of the pictures that pass, and by how much the darkest is darker."""

    lit: Frame

    def __init__(self) -> None:
        self._means: list[float] = []

    def watching(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            mean = float(frame.bgr.mean())
            if not self._means or mean > max(self._means):
                self.lit = frame
            self._means.append(mean)
            yield frame

    @property
    def light(self) -> float:
        """Grey levels that the emitter adds to the whole picture."""
        return round(max(self._means) - min(self._means), 1)


def _strobing(light: float, subject: str, *, strobe: bool) -> Finding:
    facts = {"light": light}
    if strobe and light <= STEP:
        what = f"the emitter's light does not come and go (by {light:g} grey levels)"
        remedy = "Stand half a metre before it, and switch the emitter on; if it is always on, write strobe = false."
        return Finding("infrared.strobe", Severity.WARNING, what, remedy, subject, facts)
    if light > STEP and not strobe:
        what = f"the emitter's light comes and goes (by {light:g} grey levels), and is not looked at"
        remedy = "Write strobe = true under [infrared], so that the light on a face is judged too."
        return Finding("infrared.strobe", Severity.INFO, what, remedy, subject, facts)
    what = f"the emitter adds {light:g} grey levels" if strobe else "the emitter's light is steady, as configured"
    return Finding("infrared.strobe", Severity.OK, what, subject=subject, facts=facts)
