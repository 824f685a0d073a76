"""A camera that always hands out its newest picture."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

import cv2

from drivers.opencv_camera._source import Capture, Picture, Source
from hal import Clock, Deadline, DeviceError, DeviceInfo, Disconnected, Frame, ProtocolError, TimedOut

_LOG = logging.getLogger(__name__)
_JOIN_SECONDS = 1.0
_FRESH_NS = 250_000_000


class OpenCvCamera:
    """A `hal.Camera` over one source.

    A thread reads the source without pause and keeps the newest picture only: a caller never gets an old one out of
    a buffer, and no call of OpenCV's, some of which block for seconds, holds up a caller. `sequence` counts pictures
    as the source delivers them, so a gap tells how many the caller missed; `captured_ns` is when the picture arrived.
    """

    def __init__(self, source: Source, clock: Clock, warmup_frames: int = 0) -> None:
        self._source = source
        self._clock = clock
        self._warmup = warmup_frames
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._sequence = 0
        self._newest: Frame | None = None
        self._failure: DeviceError | None = None
        self._thread = threading.Thread(target=self._run, name="camera-grabber", daemon=True)

    @property
    def info(self) -> DeviceInfo:
        """Who and where the camera is."""
        return self._source.info

    def start(self, deadline: Deadline) -> None:
        """Begin to stream; returns with the first picture at hand, raises a `DeviceError` and is closed otherwise."""
        self._thread.start()
        try:
            with self._changed:
                self._await(deadline, 0)
        except DeviceError:
            self.close()
            raise

    def read(self, deadline: Deadline) -> Frame:
        """The newest picture not handed out yet and at most 0.25 s old, else the next one to arrive.

        Raises `TimedOut` at the deadline, `Disconnected` when the camera went away, ended or was closed.
        """
        with self._changed:
            frame = self._await(deadline, self._clock.monotonic_ns() - _FRESH_NS)
            self._newest = None
        return frame

    def _await(self, deadline: Deadline, oldest_ns: int) -> Frame:
        """Wait, holding the lock, for a picture captured at `oldest_ns` or later; the last one precedes a failure."""
        while self._newest is None or self._newest.captured_ns < oldest_ns:
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
        capture: Capture = None
        try:
            capture = self._source.start()
            self._stream(capture)
        except DeviceError as error:
            self._fail(error)
        except (OSError, cv2.error) as error:
            self._fail(ProtocolError(f"camera {self.info.port}: {error}"))
        finally:
            if capture is not None:
                capture.release()
            self._source.finish()
            self._fail(Disconnected(f"camera {self.info.port} stopped"))

    def _stream(self, capture: Capture) -> None:
        interval = self._source.interval_ns(capture)
        due = self._clock.monotonic_ns()
        while not self._stop.is_set():
            picture = self._source.grab(capture)
            if picture is not None:
                self._publish(picture)
            if interval:
                due += interval
                self._stop.wait(max(0, due - self._clock.monotonic_ns()) / 1e9)

    def _publish(self, picture: Picture) -> None:
        arrived = self._clock.monotonic_ns()
        self._sequence += 1
        if self._sequence <= self._warmup or self._stop.is_set():
            return
        bgr = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if picture.ndim == 2 else picture
        with self._changed:
            self._newest = Frame(bgr, self._sequence, arrived)
            self._changed.notify_all()

    def _fail(self, error: DeviceError) -> None:
        """Keep the first failure; it is what a reader is told."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()
