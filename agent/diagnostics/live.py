"""Microphone level and camera image quality as they are now, until the person has seen enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agent.clocks import StoppableClock
from agent.diagnostics import camera, microphone
from agent.diagnostics.running import GRACE_S
from agent.diagnostics.targets import Target
from agent.log import printable
from hal import AudioBlock, Camera, Deadline, Device, DeviceError, DeviceKind, Frame, Microphone

OPEN_S = 15.0
RETRY_S = 1.0
BAR = 24
_REFRESH_S = 0.125
_BOTTOM_DBFS, _LOUD_DBFS, _CLIPPING_DBFS = -80.0, -12.0, -1.0
_SHARP, _READ_S, _STREAM_S = 200.0, 5.0, 3600.0
_METER_S = 0.1
"""How much sound one reading is made of."""


@dataclass(frozen=True)
class Reading:
    """One moment of one device: a bar from 0 to 1, and what it says in words; `trouble` colours it."""

    share: float
    text: str
    trouble: bool = False


def of_sound(blocks: Sequence[AudioBlock], lost: int) -> Reading:
    """The level of at least one block; `lost` tells how often samples were lost so far."""
    now = microphone.measure(blocks)
    share = (now.level_dbfs - _BOTTOM_DBFS) / -_BOTTOM_DBFS
    clipping = now.peak_dbfs > _CLIPPING_DBFS
    words = "clipping: lower the gain" if clipping else "loud" if now.level_dbfs > _LOUD_DBFS else ""
    missing = f"{lost} times samples lost" if lost else ""
    text = "  ".join(part for part in (f"{now.level_dbfs:6.1f} dBFS", words, missing) if part)
    return Reading(min(1.0, max(0.0, share)), text, clipping or lost > 0)


def of_picture(frame: Frame, fps: float) -> Reading:
    """Light and sharpness of one picture; the bar shows sharpness, for setting the focus."""
    light = camera.light_of(frame)
    judged = camera.troubles_of(light)
    text = f"sharpness {light.sharpness:7.1f}  brightness {light.brightness:5.1f}  {fps:4.1f} fps"
    return Reading(min(1.0, light.sharpness / _SHARP), "  ".join([text, *judged]), bool(judged))


class LiveView:
    """Reads the devices on threads of their own, and draws the newest reading of each."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets
        self._stop = threading.Event()
        self._clock = StoppableClock(self._stop)
        self._readings: dict[str, Reading] = {}

    def show(self, console: Console, seconds: float | None) -> dict[str, Reading]:
        """Draw until Ctrl-C, or for `seconds`; the last readings by subject."""
        threads = [
            threading.Thread(target=self._follow, args=(target,), name=target.subject, daemon=True)
            for target in self._targets
        ]
        for thread in threads:
            thread.start()
        end = None if seconds is None else time.monotonic() + seconds
        try:
            with Live(console=console, auto_refresh=False) as screen:
                while end is None or time.monotonic() < end:
                    screen.update(self.drawing(), refresh=console.is_terminal)
                    self._clock.sleep(_REFRESH_S)
                screen.update(self.drawing(), refresh=True)
        except KeyboardInterrupt:
            # The person has seen enough.
            pass
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(GRACE_S)
        return dict(self._readings)

    def drawing(self) -> RenderableType:
        """The newest readings as bars."""
        table = Table(box=None, show_header=False, padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, min_width=BAR)
        table.add_column()
        for target in self._targets:
            reading = self._readings.get(target.subject, Reading(0.0, "opening …"))
            full = round(reading.share * BAR)
            style = "red" if reading.trouble else "green"
            bar = Text.assemble(("█" * full, style), ("░" * (BAR - full), "dim"))
            table.add_row(Text(printable(target.subject)), bar, Text(printable(reading.text)))
        return Group(table, Text("Ctrl-C ends.", style="dim"))

    def _follow(self, target: Target) -> None:
        """Read one device until stopped; one that fails is tried again, for it may be replugged meanwhile."""
        while not self._stop.is_set():
            try:
                with target.open(Deadline.after(OPEN_S, self._clock)) as device:
                    self._read(target, device)
            except DeviceError as error:
                self._readings[target.subject] = Reading(0.0, f"{error} → {error.remedy}", trouble=True)
                self._clock.sleep(RETRY_S)

    def _read(self, target: Target, device: Device) -> None:
        tell: Callable[[Reading], None] = lambda reading: self._readings.update({target.subject: reading})  # noqa: E731
        if target.kind() == DeviceKind.CAMERA:
            self._watch(cast(Camera, device), tell)
        else:
            self._listen(cast(Microphone, device), tell)

    def _listen(self, device: Microphone, tell: Callable[[Reading], None]) -> None:
        lost, first = 0, True
        heard: list[AudioBlock] = []
        with closing(cast(Any, device.blocks(Deadline.after(_STREAM_S, self._clock)))) as stream:
            for block in stream:
                lost, first = lost + (block.overflow and not first), False
                heard.append(block)
                if sum(len(part.pcm) for part in heard) >= _METER_S * block.rate:
                    tell(of_sound(heard, lost))
                    heard.clear()
                if self._stop.is_set():
                    return

    def _watch(self, device: Camera, tell: Callable[[Reading], None]) -> None:
        begun = None
        while not self._stop.is_set():
            frame = device.read(Deadline.after(_READ_S, self._clock))
            begun = begun or frame
            seconds = (frame.captured_ns - begun.captured_ns) / 1e9
            tell(of_picture(frame, (frame.sequence - begun.sequence) / seconds if seconds > 0 else 0.0))


def live_targets(targets: Sequence[Target]) -> list[Target]:
    """Those among them that can be shown live."""
    shown = {DeviceKind.CAMERA, DeviceKind.MICROPHONE}
    found = []
    for target in targets:
        try:
            if target.kind() in shown:
                found.append(target)
        except (DeviceError, ImportError):
            continue
    return found
