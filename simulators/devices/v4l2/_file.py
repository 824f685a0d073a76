"""One open descriptor of the camera's node: the ioctls of a capture device (media kernel docs, part "Functions")."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from fractions import Fraction
from struct import Struct

from simulators.devices.faults import Fault
from simulators.devices.v4l2 import _abi as abi
from simulators.devices.v4l2._camera import MAX_BUFFERS, V4l2Camera
from simulators.devices.v4l2._modes import Mode

_HOLD_SECONDS = 0.05
_VERSION = 6 << 16 | 1 << 8
_IMPOSSIBLE_BYTES = 0xFFFF_FFF0
_REFUSALS = (Fault.BUSY, Fault.PERMISSION_DENIED, Fault.WRONG_DESCRIPTOR)
_CONTROL_NAMES = {abi.CONTROL_BRIGHTNESS: "Brightness", abi.CONTROL_GAIN: "Gain"}


class CameraFile:
    """Serves the ioctls of one descriptor; those of one descriptor come one after the other.

    A plain file is always ready to poll(2) and select(2). A program that relies on them would spin; so DQBUF holds the
    answer back for at most 50 ms until a frame is there, and says EAGAIN then, as for a descriptor that does not block.
    """

    def __init__(self, camera: V4l2Camera) -> None:
        self._camera = camera
        self._generation = camera.generation
        struck = {fault: camera.plan.strikes(fault) for fault in _REFUSALS}
        self._refuses = {fault: one.order.seed for fault, one in struck.items() if one is not None}
        self._buffers = 0
        self._queued: set[int] = set()
        self._streaming = False

    def ioctl(self, request: int, argument: bytearray) -> None:
        """Serve one ioctl; raises `OSError` with the errno of the kernel's documentation."""
        if self._gone():
            raise _refuse(errno.ENODEV)
        if Fault.PERMISSION_DENIED in self._refuses:
            raise _refuse(errno.EACCES)
        serve = _SERVED.get(request)
        if serve is None:
            raise _refuse(errno.ENOTTY)
        serve(self, argument)
        if self._gone():
            raise _refuse(errno.ENODEV)

    def release(self) -> None:
        """Give the buffers back."""
        self._let_go()

    def _gone(self) -> bool:
        return self._generation != self._camera.generation or not self._camera.attached

    # What it is and offers.

    def _querycap(self, argument: bytearray) -> None:
        identity = self._camera.identity
        capabilities = abi.CAP_VIDEO_CAPTURE | abi.CAP_STREAMING
        if self._is_wrong(0):
            capabilities = abi.CAP_META_CAPTURE | abi.CAP_STREAMING
        bus = f"usb-lab-{identity.port}".encode()
        names = (b"keyvigil-lab", identity.card.encode()[:31], bus)
        abi.CAPABILITY.pack_into(argument, 0, *names, _VERSION, capabilities | abi.CAP_DEVICE_CAPS, capabilities)

    def _enum_fmt(self, argument: bytearray) -> None:
        index, kind = _numbers(argument, 2)
        _require(kind == abi.TYPE_VIDEO_CAPTURE and index < len(self._camera.offer.formats))
        mode = Mode(self._camera.offer.formats[index], self._camera.offer.sizes[0])
        flags = abi.FORMAT_COMPRESSED if mode.coding.compressed else 0
        described = mode.coding.description.encode()
        abi.FORMAT_DESCRIPTION.pack_into(argument, 0, index, kind, flags, described, abi.fourcc(mode.fourcc))

    def _enum_framesizes(self, argument: bytearray) -> None:
        index, pixelformat = _numbers(argument, 2)
        offer = self._camera.offer
        _require(abi.fourcc_name(pixelformat) in offer.formats and index < len(offer.sizes))
        height, width = offer.sizes[index]
        abi.FRAME_SIZE.pack_into(argument, 0, index, pixelformat, abi.DISCRETE, width, height)

    def _enum_frameintervals(self, argument: bytearray) -> None:
        index, pixelformat, width, height = _numbers(argument, 4)
        offer = self._camera.offer
        _require(abi.fourcc_name(pixelformat) in offer.formats and (height, width) in offer.sizes)
        _require(index < len(offer.intervals))
        numerator, denominator = offer.intervals[index].as_integer_ratio()
        abi.FRAME_INTERVAL.pack_into(
            argument, 0, index, pixelformat, width, height, abi.DISCRETE, numerator, denominator
        )

    def _enuminput(self, argument: bytearray) -> None:
        _require(_numbers(argument, 1) == (0,))
        abi.INPUT.pack_into(argument, 0, 0, b"Camera", abi.INPUT_CAMERA)

    def _g_input(self, argument: bytearray) -> None:
        abi.NUMBER.pack_into(argument, 0, 0)

    def _s_input(self, argument: bytearray) -> None:
        _require(_numbers(argument, 1) == (0,))

    # What it is set to.

    def _g_fmt(self, argument: bytearray) -> None:
        _require(_numbers(argument, 1) == (abi.TYPE_VIDEO_CAPTURE,))
        self._put_mode(argument, self._camera.mode)

    def _try_fmt(self, argument: bytearray) -> None:
        self._put_mode(argument, self._asked_mode(argument))

    def _s_fmt(self, argument: bytearray) -> None:
        mode = self._asked_mode(argument)
        with self._camera.lock:
            self._require_unheld()
            if self._buffers:
                raise _refuse(errno.EBUSY)
            self._camera.mode = mode
        self._put_mode(argument, mode)

    def _asked_mode(self, argument: bytearray) -> Mode:
        kind, width, height, pixelformat, *_ = abi.PIXEL_FORMAT.unpack_from(argument)
        _require(kind == abi.TYPE_VIDEO_CAPTURE)
        return self._camera.offer.nearest(abi.fourcc_name(pixelformat), height, width)

    def _put_mode(self, argument: bytearray, mode: Mode) -> None:
        height, width = (0, 0) if self._is_wrong(2) else mode.size
        size = _IMPOSSIBLE_BYTES if self._is_wrong(1) else mode.image_bytes
        number = abi.fourcc(mode.fourcc)
        described = (width, height, number, abi.FIELD_NONE, mode.line_bytes, size, abi.COLORSPACE_SRGB)
        abi.PIXEL_FORMAT.pack_into(argument, 0, abi.TYPE_VIDEO_CAPTURE, *described)

    def _g_parm(self, argument: bytearray) -> None:
        _require(_numbers(argument, 1) == (abi.TYPE_VIDEO_CAPTURE,))
        pace = self._camera.interval.as_integer_ratio()
        abi.STREAM_PARAMETERS.pack_into(argument, 0, abi.TYPE_VIDEO_CAPTURE, abi.PARM_TIMEPERFRAME, 0, *pace, 0, 4)

    def _s_parm(self, argument: bytearray) -> None:
        kind, _, _, numerator, denominator, *_ = abi.STREAM_PARAMETERS.unpack_from(argument)
        _require(kind == abi.TYPE_VIDEO_CAPTURE)
        with self._camera.lock:
            self._require_unheld()
            self._camera.set_interval(Fraction(numerator, denominator) if numerator and denominator else Fraction(0))
        self._g_parm(argument)

    def _queryctrl(self, argument: bytearray) -> None:
        (wanted,) = _numbers(argument, 1)
        known = sorted(_CONTROL_NAMES)
        if wanted & abi.CONTROL_NEXT:
            later = [number for number in known if number > wanted & ~abi.CONTROL_NEXT]
            _require(bool(later))
            wanted = later[0]
        _require(wanted in known)
        neutral = type(self._camera.controls)().values[wanted]
        name = _CONTROL_NAMES[wanted].encode()
        abi.CONTROL_QUERY.pack_into(argument, 0, wanted, abi.CONTROL_INTEGER, name, 0, 255, 1, neutral, 0)

    def _g_ctrl(self, argument: bytearray) -> None:
        number, _ = abi.CONTROL.unpack_from(argument)
        _require(number in _CONTROL_NAMES)
        abi.CONTROL.pack_into(argument, 0, number, self._camera.controls.values[number])

    def _s_ctrl(self, argument: bytearray) -> None:
        number, value = abi.CONTROL.unpack_from(argument)
        _require(number in _CONTROL_NAMES)
        self._camera.controls.values[number] = min(255, max(0, value))
        self._g_ctrl(argument)

    # Its buffers.

    def _reqbufs(self, argument: bytearray) -> None:
        count, kind, memory = abi.BUFFER_REQUEST.unpack_from(argument)
        _require(kind == abi.TYPE_VIDEO_CAPTURE and memory == abi.MEMORY_MMAP)
        with self._camera.lock:
            self._require_unheld()
            self._let_go()
            self._buffers = min(count, MAX_BUFFERS)
            self._camera.holder = self if count else None
        abi.BUFFER_REQUEST.pack_into(argument, 0, self._buffers, kind, memory)

    def _querybuf(self, argument: bytearray) -> None:
        index = self._index(argument)
        queued = abi.BUFFER_QUEUED if index in self._queued else 0
        self._put_buffer(argument, index, flags=queued | abi.BUFFER_MONOTONIC | abi.BUFFER_START_OF_EXPOSURE)

    def _qbuf(self, argument: bytearray) -> None:
        self._require_held()
        index = self._index(argument)
        _require(index not in self._queued)
        self._queued.add(index)
        self._camera.sensor.queue(index)
        flags = abi.BUFFER_MAPPED | abi.BUFFER_QUEUED | abi.BUFFER_MONOTONIC | abi.BUFFER_START_OF_EXPOSURE
        self._put_buffer(argument, index, flags=flags)

    def _dqbuf(self, argument: bytearray) -> None:
        self._require_held()
        _require(self._streaming and abi.BUFFER.unpack_from(argument)[1] == abi.TYPE_VIDEO_CAPTURE)
        filled = self._camera.sensor.take(_HOLD_SECONDS)
        if filled is None:
            raise _refuse(errno.EAGAIN)
        self._queued.discard(filled.index)
        error = abi.BUFFER_ERROR if filled.damaged else 0
        flags = abi.BUFFER_MAPPED | abi.BUFFER_MONOTONIC | abi.BUFFER_START_OF_EXPOSURE | error
        self._put_buffer(argument, filled.index, filled.used, flags, filled.exposed_ns, filled.sequence)

    def _streamon(self, argument: bytearray) -> None:
        _require(_numbers(argument, 1) == (abi.TYPE_VIDEO_CAPTURE,) and self._buffers > 0)
        self._require_held()
        if not self._streaming:
            self._streaming = True
            self._camera.stream_on()

    def _streamoff(self, argument: bytearray) -> None:
        _require(_numbers(argument, 1) == (abi.TYPE_VIDEO_CAPTURE,))
        self._require_held()
        self._stop()

    def _index(self, argument: bytearray) -> int:
        index, kind, *_ = abi.BUFFER.unpack_from(argument)
        _require(kind == abi.TYPE_VIDEO_CAPTURE and index < self._buffers)
        return int(index)

    def _put_buffer(
        self, argument: bytearray, index: int, used: int = 0, flags: int = 0, exposed_ns: int = 0, sequence: int = 0
    ) -> None:
        seconds, rest = divmod(exposed_ns, 1_000_000_000)
        length = self._camera.mode.image_bytes
        head = (index, abi.TYPE_VIDEO_CAPTURE, used, flags, abi.FIELD_NONE, seconds, rest // 1000)
        offset = index * self._camera.buffer_bytes
        abi.BUFFER.pack_into(argument, 0, *head, sequence & 0xFFFFFFFF, abi.MEMORY_MMAP, offset, length)

    def _require_unheld(self) -> None:
        """EBUSY while another descriptor has the buffers, or while the fault says that one has."""
        if Fault.BUSY in self._refuses or self._camera.holder not in {None, self}:
            raise _refuse(errno.EBUSY)

    def _require_held(self) -> None:
        if self._camera.holder is not self:
            raise _refuse(errno.EBUSY if self._camera.holder else errno.EINVAL)

    def _let_go(self) -> None:
        self._stop()
        self._buffers = 0
        with self._camera.lock:
            if self._camera.holder is self:
                self._camera.holder = None

    def _stop(self) -> None:
        if self._streaming:
            self._streaming = False
            self._camera.sensor.stop()
        self._queued.clear()

    def _is_wrong(self, variant: int) -> bool:
        seed = self._refuses.get(Fault.WRONG_DESCRIPTOR)
        return seed is not None and seed % 3 == variant


_SERVED: Mapping[int, Callable[[CameraFile, bytearray], None]] = {
    abi.QUERYCAP: CameraFile._querycap,
    abi.ENUM_FMT: CameraFile._enum_fmt,
    abi.ENUM_FRAMESIZES: CameraFile._enum_framesizes,
    abi.ENUM_FRAMEINTERVALS: CameraFile._enum_frameintervals,
    abi.ENUMINPUT: CameraFile._enuminput,
    abi.G_INPUT: CameraFile._g_input,
    abi.S_INPUT: CameraFile._s_input,
    abi.G_FMT: CameraFile._g_fmt,
    abi.TRY_FMT: CameraFile._try_fmt,
    abi.S_FMT: CameraFile._s_fmt,
    abi.G_PARM: CameraFile._g_parm,
    abi.S_PARM: CameraFile._s_parm,
    abi.QUERYCTRL: CameraFile._queryctrl,
    abi.G_CTRL: CameraFile._g_ctrl,
    abi.S_CTRL: CameraFile._s_ctrl,
    abi.REQBUFS: CameraFile._reqbufs,
    abi.QUERYBUF: CameraFile._querybuf,
    abi.QBUF: CameraFile._qbuf,
    abi.DQBUF: CameraFile._dqbuf,
    abi.STREAMON: CameraFile._streamon,
    abi.STREAMOFF: CameraFile._streamoff,
}


def _numbers(argument: bytearray, count: int) -> tuple[int, ...]:
    return Struct(f"={count}I").unpack_from(argument)


def _require(right: bool) -> None:
    if not right:
        raise _refuse(errno.EINVAL)


def _refuse(code: int) -> OSError:
    return OSError(code, errno.errorcode[code])
