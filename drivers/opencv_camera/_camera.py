"""A camera that always hands out its newest picture."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

import cv2

from drivers.opencv_camera._settling import Settling
from drivers.opencv_camera._source import Shot, Source
from hal import Capability, Clock, Deadline, DeviceError, DeviceInfo, Disconnected, Frame, ProtocolError, TimedOut

_LOG = logging.getLogger(__name__)
_JOIN_SECONDS = 1.0
_FRESH_NS = 250_000_000


class OpenCvCamera:
    """A `hal.Camera` over one source.

    A thread reads the source without pause and keeps the newest picture only: a caller never gets an old one out of
    a buffer, and no call of OpenCV's or the kernel's, some of which block for seconds, holds up a caller.
    """

    def __init__(self, source: Source, clock: Clock, settling: Settling) -> None:
        self._source = source
        self._clock = clock
        self._settling = settling
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._count = 0
        self._lost = 0
        self._arrived_ns = 0
        self._newest: Frame | None = None
        self._failure: DeviceError | None = None
        self._thread = threading.Thread(target=self._run, name="camera-grabber", daemon=True)

    @property
    def info(self) -> DeviceInfo:
        """Who and where the camera is."""
        return self._source.info

    def start(self, deadline: Deadline) -> None:
        """Begin to stream; returns with the first picture at hand, raises a `DeviceError` and is closed otherwise."""
        deadline.check(f"opening camera {self.info.port}")
        self._thread.start()
        try:
            with self._changed:
                self._await(deadline, 0)
        except BaseException:
            self.close()
            raise

    def read(self, deadline: Deadline) -> Frame:
        """The newest picture not handed out yet that arrived at most 0.25 s ago, else the next one to arrive.

        Raises `TimedOut` at the deadline, `Disconnected` when the camera went away, ended or was closed,
        `ProtocolError` when what it sends is damaged again and again.
        """
        with self._changed:
            frame = self._await(deadline, self._clock.monotonic_ns() - _FRESH_NS)
            self._newest = None
            self._lost = 0
        return frame

    def _await(self, deadline: Deadline, oldest_ns: int) -> Frame:
        """Wait, holding the lock, for a picture that arrived at `oldest_ns` or later; the last precedes a failure."""
        while self._newest is None or self._arrived_ns < oldest_ns:
            if self._failure is not None:
                raise type(self._failure)(str(self._failure), remedy=self._failure.remedy)
            remaining = deadline.remaining()
            if remaining <= 0:
                raise TimedOut(f"camera {self.info.port} sent no picture in time")
            self._changed.wait(remaining)
        return self._newest

    def close(self) -> None:
        """Stop streaming and release the camera; closing twice is allowed.

        Returns within a second even when the kernel's driver does not: the thread then lets go as soon as it can.
        """
        self._stop.set()
        self._fail(Disconnected(f"camera {self.info.port} was closed"))
        with self._changed:
            self._newest = None
        self._source.interrupt()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_SECONDS)
            if self._thread.is_alive():
                _LOG.warning("camera %s is stuck in its driver; it is released when the driver returns", self.info.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        """The grabber's thread: open, stream, release."""
        try:
            self._source.start()
            self._stream()
        except DeviceError as error:
            self._fail(error)
        except (OSError, cv2.error) as error:
            self._fail(ProtocolError(f"camera {self.info.port}: {error}"))
        finally:
            self._source.finish()
            self._fail(Disconnected(f"camera {self.info.port} stopped"))

    def _stream(self) -> None:
        interval = self._source.interval_ns()
        due = self._clock.monotonic_ns()
        while not self._stop.is_set():
            shot = self._source.grab()
            if shot is not None:
                self._publish(shot)
            if interval:
                due += interval
                self._stop.wait(max(0, due - self._clock.monotonic_ns()) / 1e9)

    def _publish(self, shot: Shot) -> None:
        self._count += 1
        if not self._settling.admits(shot.picture) or self._stop.is_set():
            return
        frame = self._frame(shot)
        with self._changed:
            self._lost += shot.lost
            self._newest = replace(frame, lost=self._lost)
            self._arrived_ns = self._clock.monotonic_ns()
            self._changed.notify_all()

    def _frame(self, shot: Shot) -> Frame:
        """The time of exposure is put onto the caller's clock by its age, and never lies ahead."""
        picture = shot.picture
        bgr = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if picture.ndim == 2 else picture
        age = 0 if shot.captured_ns is None else max(0, time.monotonic_ns() - shot.captured_ns)
        return Frame(
            bgr,
            self._count if shot.sequence is None else shot.sequence,
            self._clock.monotonic_ns() - age,
            hardware_clock=shot.captured_ns is not None,
            infrared=Capability.INFRARED in self.info.capabilities,
        )

    def _fail(self, error: DeviceError) -> None:
        """Keep the first failure; it is what a reader is told."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()
