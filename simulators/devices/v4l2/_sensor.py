"""The streaming side of a camera: exposes frames at its pace into whatever buffer is queued."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from hal import Clock


@dataclass(frozen=True)
class Readout:
    """The bytes of one frame; `damaged` when the driver below knows that some of them are wrong."""

    data: bytes
    damaged: bool = False


Render = Callable[[int, int], Readout | None]
"""From a frame's number and the monotonic time of its exposure to what is read out; `None` for a frame that is lost."""


@dataclass(frozen=True)
class Filled:
    """A buffer with a frame in it: `used` bytes of it, exposed at `exposed_ns` (monotonic)."""

    index: int
    used: int
    sequence: int
    exposed_ns: int
    damaged: bool = False


class Sensor:
    """Runs while it streams. A frame for which no buffer is queued is lost, and its number with it.

    A buffer is written only between `queue` and the `take` that hands it out: no reader ever sees a torn frame.
    """

    def __init__(self, clock: Clock, store: Callable[[int, bytes], None]) -> None:
        """`store` writes a frame into the memory of a buffer."""
        self._clock = clock
        self._store = store
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._waiting: deque[int] = deque()
        self._done: deque[Filled] = deque()
        self._thread: threading.Thread | None = None
        self._last: tuple[Filled, bytes] | None = None
        self._frozen = False
        self.lost = 0
        """Frames since streaming began that found no buffer."""

    def start(self, render: Render, interval: float, latency: float, delay: Callable[[], float]) -> None:
        """Begin to stream, the first frame at once: `interval` seconds a frame, `latency` until it can be had.

        `delay` is asked before every frame for seconds by which it comes late.
        """
        self._stop.clear()
        self.lost = 0
        self._thread = threading.Thread(
            target=self._run, args=(render, int(interval * 1e9), latency, delay), name="v4l2-sensor", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End streaming and forget every buffer."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._changed:
            self._waiting.clear()
            self._done.clear()
            self._last = None
            self._changed.notify_all()

    def queue(self, index: int) -> None:
        """A buffer to fill."""
        with self._changed:
            self._waiting.append(index)

    def take(self, seconds: float) -> Filled | None:
        """The oldest filled buffer, waiting at most `seconds` for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._done or self._stop.is_set(), seconds)
            return self._done.popleft() if self._done else None

    def freeze(self, on: bool) -> None:
        """From now on deliver the last frame over and over, number and time included, until switched off."""
        with self._changed:
            self._frozen = on

    def _run(self, render: Render, interval_ns: int, latency: float, delay: Callable[[], float]) -> None:
        due = self._clock.monotonic_ns()
        sequence = 0
        while not self._stop.is_set():
            late = delay()
            if late:
                self._stop.wait(late)
                due = self._clock.monotonic_ns()
            self._expose(render, sequence, due, latency)
            now = self._clock.monotonic_ns()
            skipped = max(0, (now - due) // interval_ns)
            self.lost += skipped
            sequence += 1 + skipped
            due += (1 + skipped) * interval_ns
            self._stop.wait(max(0, due - now) / 1e9)

    def _expose(self, render: Render, sequence: int, due: int, latency: float) -> None:
        readout = render(sequence, due)
        if readout is None or self._stop.wait(latency):
            return
        with self._changed:
            if not self._waiting:
                self.lost += 1
                return
            index = self._waiting.popleft()
            again = self._last if self._frozen else None
        filled, data = again or (
            Filled(index, len(readout.data), sequence, due, readout.damaged),
            readout.data,
        )
        self._store(index, data)
        with self._changed:
            self._last = filled, data
            self._done.append(replace(filled, index=index))
            self._changed.notify_all()
