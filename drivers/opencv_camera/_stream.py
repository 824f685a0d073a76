"""One open V4L2 node: its ioctls, its buffers, and what the kernel's error numbers mean for the person before it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import select
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from drivers.opencv_camera import _videodev as v4l2
from drivers.opencv_camera._options import CONFIGURE
from hal import Busy, DeviceError, Disconnected, NotFound, PermissionDenied, ProtocolError, Unsupported

_BUFFERS = 4
_MOST_ENTRIES = 64
_CAPTURE = v4l2.CAPTURE.to_bytes(4, "little")


class NodeHandle:
    """A descriptor of a node; closed by `close`. Opening it claims nothing yet."""

    def __init__(self, path: Path) -> None:
        """Raises `NotFound`, `PermissionDenied`, `Disconnected`, `ProtocolError`."""
        self.path = path
        self._maps: list[mmap.mmap] = []
        try:
            if not stat.S_ISCHR(path.stat().st_mode):
                raise ProtocolError(f"{path} is not a device node", remedy=CONFIGURE)
            self._handle = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"there is no camera at {path}") from None
        except OSError as error:
            raise explain(path, error) from None

    def close(self) -> None:
        """End the stream, give buffers and claim back, close. Allowed twice.

        The kernel would do so by itself with the last descriptor, but a process that was forked meanwhile may hold one.
        """
        handle, self._handle = self._handle, -1
        if handle < 0:
            return
        try:
            if self._maps:
                self._give_back(handle)
        finally:
            os.close(handle)

    def _give_back(self, handle: int) -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(handle, v4l2.STREAMOFF, bytearray(_CAPTURE))
        while self._maps:
            self._maps.pop().close()
        with contextlib.suppress(OSError):
            fcntl.ioctl(handle, v4l2.REQBUFS, v4l2.buffer_request(0))
            fcntl.flock(handle, fcntl.LOCK_UN)

    def ask(self, request: int, argument: bytearray) -> bytes:
        """One ioctl; the structure as the kernel leaves it. Raises what `explain` makes of a refusal."""
        try:
            return self._ioctl(request, argument)
        except OSError as error:
            raise explain(self.path, error) from None

    def capability(self) -> v4l2.NodeCapability:
        """Who the node is; raises `ProtocolError` for one that is no V4L2 node at all."""
        return v4l2.parse_capability(self.ask(v4l2.QUERYCAP, bytearray(104)))

    def offered_formats(self) -> list[str]:
        """The four characters of every pixel format."""
        return [v4l2.parse_format_description(raw) for raw in self._entries(v4l2.ENUM_FMT, v4l2.description_at)]

    def reaches(self, fourcc: str, width: int, height: int, fps: float) -> bool:
        """Whether the camera offers this size at this rate; a camera that does not tell is believed to."""
        sizes = list(self._entries(v4l2.ENUM_FRAMESIZES, lambda index: v4l2.frame_size_at(index, fourcc)))
        if sizes and not any(v4l2.offers_size(raw, width, height) for raw in sizes):
            return False
        rates = list(
            self._entries(v4l2.ENUM_FRAMEINTERVALS, lambda index: v4l2.frame_interval_at(index, fourcc, width, height))
        )
        return not rates or any(v4l2.offers_rate(raw, fps) for raw in rates)

    def claim(self) -> None:
        """Claim the node among programs that ask this way; raises `Busy`. The kernel adds EBUSY of its own."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise explain(self.path, error) from None

    def set_format(self, width: int, height: int, fourcc: str) -> v4l2.PixelFormat:
        """Ask for a format; what the camera settled on."""
        return v4l2.parse_format(self.ask(v4l2.S_FMT, v4l2.format_request(width, height, fourcc)))

    def set_rate(self, fps: float) -> None:
        """Ask for a frame rate; a camera that has only one may refuse."""
        with contextlib.suppress(ProtocolError, Unsupported):
            self.ask(v4l2.S_PARM, v4l2.rate_request(fps))

    def begin(self) -> v4l2.BufferState:
        """Map the buffers, queue them, stream; the first buffer as it was then. Raises `Busy` and others."""
        count = v4l2.parse_buffer_count(self.ask(v4l2.REQBUFS, v4l2.buffer_request(_BUFFERS)))
        if not 0 < count <= _MOST_ENTRIES:
            raise ProtocolError(f"camera {self.path} has {count} buffers")
        states = [v4l2.parse_buffer(self.ask(v4l2.QUERYBUF, v4l2.buffer_at(index))) for index in range(count)]
        for state in states:
            self._map(state)
        for index in range(count):
            self.requeue(index)
        self.ask(v4l2.STREAMON, bytearray(_CAPTURE))
        return states[0]

    def requeue(self, index: int) -> None:
        """Give a buffer back to the camera."""
        self.ask(v4l2.QBUF, v4l2.buffer_at(index))

    def dequeue(self, seconds: float) -> v4l2.BufferState | None:
        """The next filled buffer, waiting at most `seconds`; `None` when there is none.

        Raises `Disconnected` when the camera went away, `ProtocolError` for a buffer that was never mapped, `OSError`
        (EIO) for a picture that the kernel could not receive.
        """
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        ready = poll.poll(seconds * 1000)
        if not ready:
            return None
        if ready[0][1] & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
            raise Disconnected(f"camera {self.path} went away")
        try:
            raw = self._ioctl(v4l2.DQBUF, v4l2.buffer_at(0))
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.EIO and self.path.exists():
                raise
            raise Disconnected(f"camera {self.path} went away") from None
        state = v4l2.parse_buffer(raw)
        if state.index >= len(self._maps):
            raise ProtocolError(f"camera {self.path} speaks of a buffer {state.index} that it does not have")
        return state

    def contents(self, state: v4l2.BufferState) -> bytes:
        """A copy of what the camera put into a buffer, so that the buffer can go back at once."""
        return self._maps[state.index][: state.used]

    def _map(self, state: v4l2.BufferState) -> None:
        try:
            self._maps.append(mmap.mmap(self._handle, state.length, offset=state.offset))
        except (OSError, ValueError):
            raise ProtocolError(f"the buffers of camera {self.path} cannot be mapped") from None

    def _entries(self, request: int, at: Callable[[int], bytearray]) -> Iterator[bytes]:
        """What an enumerating ioctl gives until it says EINVAL; nothing when the camera does not know it."""
        for index in range(_MOST_ENTRIES):
            try:
                yield self._ioctl(request, at(index))
            except OSError as error:
                if error.errno in {errno.EINVAL, errno.ENOTTY}:
                    return
                raise explain(self.path, error) from None

    def _ioctl(self, request: int, argument: bytearray) -> bytes:
        fcntl.ioctl(self._handle, request, argument)
        return bytes(argument)


def explain(path: Path, error: OSError) -> DeviceError:
    """The error of our tree that an errno of open(2) or of an ioctl stands for."""
    match error.errno:
        case errno.EBUSY | errno.EWOULDBLOCK:
            return Busy(f"camera {path} is in use by another program")
        case errno.EACCES | errno.EPERM:
            return PermissionDenied(
                f"no permission to use camera {path}", remedy="Add the service user to the group `video`."
            )
        case errno.ENODEV | errno.ENXIO | errno.ENOENT | errno.EIO | errno.EBADF:
            return Disconnected(f"camera {path} went away")
        case errno.ENOTTY:
            return ProtocolError(f"{path} is not a camera, or one that lacks what V4L2 demands", remedy=CONFIGURE)
        case _:
            code = errno.errorcode.get(error.errno or 0, "an unknown error")
            return ProtocolError(f"camera {path} refused with {code}")
