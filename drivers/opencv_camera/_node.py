"""V4L2 capture nodes, `/dev/videoN`: streamed by ioctl, since OpenCV passes on neither numbers nor reasons (0009)."""

from __future__ import annotations

import time
from dataclasses import replace

from drivers.opencv_camera._formats import choose, is_infrared
from drivers.opencv_camera._identity import Places, node_info, require_capture
from drivers.opencv_camera._options import CameraOptions
from drivers.opencv_camera._pixels import check_format, decode
from drivers.opencv_camera._source import Shot
from drivers.opencv_camera._stream import NodeHandle
from drivers.opencv_camera._videodev import BufferState, PixelFormat
from hal import CameraFormat, Capability, Disconnected, ProtocolError

_POLL_SECONDS = 0.1
_NOT_READY_SECONDS = 0.002
_BAD_FRAMES = 10
_SEQUENCE_BITS = 32
_OLDEST_NS = 1_000_000_000


class Node:
    """One V4L2 node, held from `start` to `finish`."""

    def __init__(self, options: CameraOptions, places: Places) -> None:
        self._path = places.node(options.source)
        self._asked = options.format
        self._places = places
        self._handle: NodeHandle | None = None
        self._form: PixelFormat | None = None
        self._last: BufferState | None = None
        self._number = 0
        self._delivered: int | None = None
        self._bad = 0
        self.info = node_info(self._path, places, None)

    def is_present(self) -> bool:
        """Whether the node exists."""
        return self._path.exists()

    def start(self) -> None:
        """Claim the node and stream; raises any error of the tree."""
        self._handle = handle = NodeHandle(self._path)
        capability = handle.capability()
        require_capture(self._path, capability)
        offered = handle.offered_formats()
        self.info = node_info(self._path, self._places, (capability, is_infrared(offered)))
        handle.claim()
        asked = self._asked
        rate = asked.fps or CameraFormat().fps
        fourcc = choose(asked, offered, lambda name: handle.reaches(name, asked.width, asked.height, rate))
        self._form = handle.set_format(asked.width, asked.height, fourcc)
        check_format(self._form)
        if asked.fps:
            handle.set_rate(asked.fps)
        first = handle.begin()
        extra = {Capability.FRAME_SEQUENCE} | ({Capability.HARDWARE_CLOCK} if first.captured_ns is not None else set())
        self.info = replace(self.info, capabilities=self.info.capabilities | extra)

    def grab(self) -> Shot | None:
        """Wait 0.1 s for a frame that is whole and new; raises `Disconnected`, `ProtocolError`."""
        if self._handle is None or self._form is None:
            raise Disconnected(f"camera {self._path} is not open")
        try:
            state = self._handle.dequeue(_POLL_SECONDS)
        except OSError:
            self._count_bad("the kernel could not receive a picture")
            return None
        if state is None:
            self._pause()
            return None
        raw = self._handle.contents(state)
        self._handle.requeue(state.index)
        if not self._is_new(state):
            return None
        return self._shot(state, raw, self._form)

    def _pause(self) -> None:
        """After a wait that brought nothing."""
        if not self._path.exists():
            raise Disconnected(f"camera {self._path} was unplugged")
        # A node that says it is ready and has nothing must not keep a processor busy.
        time.sleep(_NOT_READY_SECONDS)

    def _shot(self, state: BufferState, raw: bytes, form: PixelFormat) -> Shot | None:
        if state.damaged:
            self._count_bad("its pictures arrive damaged")
            return None
        try:
            picture = decode(raw, form)
        except ProtocolError as error:
            self._count_bad(str(error))
            return None
        self._bad = 0
        lost = 0 if self._delivered is None else self._number - self._delivered - 1
        self._delivered = self._number
        return Shot(picture, self._number, state.captured_ns, lost)

    def _is_new(self, state: BufferState) -> bool:
        """Whether device number and time moved on since the last frame, and the frame did not lie about for long.

        A camera that repeats a frame is frozen, or somebody replays one to us.
        """
        if state.captured_ns is not None and time.monotonic_ns() - state.captured_ns > _OLDEST_NS:
            return False
        if self._last is None:
            self._last, self._number = state, state.sequence
            return True
        step = (state.sequence - self._last.sequence) % (1 << _SEQUENCE_BITS)
        if not 0 < step < 1 << (_SEQUENCE_BITS - 1) or not _is_later(state, self._last):
            return False
        self._last = state
        self._number += step
        return True

    def _count_bad(self, why: str) -> None:
        self._bad += 1
        if self._bad >= _BAD_FRAMES:
            raise ProtocolError(
                f"camera {self._path}: {why}",
                remedy="Use another USB port and a shorter cable; if it repeats, the camera is broken.",
            )

    def interval_ns(self) -> int:
        """The sensor keeps its own pace."""
        return 0

    def interrupt(self) -> None:
        """Nothing to do: `grab` waits 0.1 s at most."""

    def finish(self) -> None:
        """Give the node back."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()


def _is_later(state: BufferState, last: BufferState) -> bool:
    if state.captured_ns is None or last.captured_ns is None:
        return True
    return state.captured_ns > last.captured_ns
