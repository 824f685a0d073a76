"""What of linux/videodev2.h a capture device speaks, as 64-bit kernels lay it out.

Each structure is a `struct.Struct` over its leading members; what follows them is reserved and stays zero.
"""

from __future__ import annotations

from struct import Struct


def _request(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("V") << 8 | number


_WRITE, _READ, _BOTH = 1, 2, 3

CAPABILITY = Struct("=16s32s32sIII")
"""driver, card, bus_info, version, capabilities, device_caps"""
FORMAT_DESCRIPTION = Struct("=III32sI")
"""index, type, flags, description, pixelformat"""
PIXEL_FORMAT = Struct("=I4xIIIIIII")
"""type, width, height, pixelformat, field, bytesperline, sizeimage, colorspace"""
FRAME_SIZE = Struct("=IIIII")
"""index, pixelformat, type, width, height"""
FRAME_INTERVAL = Struct("=IIIIIII")
"""index, pixelformat, width, height, type, numerator, denominator"""
STREAM_PARAMETERS = Struct("=IIIIIII")
"""type, capability, capturemode, numerator, denominator, extendedmode, readbuffers"""
BUFFER_REQUEST = Struct("=III")
"""count, type, memory"""
BUFFER = Struct("=IIIII4xqq16xIIQI")
"""index, type, bytesused, flags, field, tv_sec, tv_usec, sequence, memory, offset, length"""
CONTROL_QUERY = Struct("=II32siiiiI")
"""id, type, name, minimum, maximum, step, default, flags"""
CONTROL = Struct("=Ii")
"""id, value"""
INPUT = Struct("=I32sI")
"""index, name, type"""
NUMBER = Struct("=I")

QUERYCAP = _request(_READ, 0, 104)
ENUM_FMT = _request(_BOTH, 2, 64)
G_FMT = _request(_BOTH, 4, 208)
S_FMT = _request(_BOTH, 5, 208)
REQBUFS = _request(_BOTH, 8, 20)
QUERYBUF = _request(_BOTH, 9, 88)
QBUF = _request(_BOTH, 15, 88)
DQBUF = _request(_BOTH, 17, 88)
STREAMON = _request(_WRITE, 18, 4)
STREAMOFF = _request(_WRITE, 19, 4)
G_PARM = _request(_BOTH, 21, 204)
S_PARM = _request(_BOTH, 22, 204)
ENUMINPUT = _request(_BOTH, 26, 80)
G_CTRL = _request(_BOTH, 27, 8)
S_CTRL = _request(_BOTH, 28, 8)
QUERYCTRL = _request(_BOTH, 36, 68)
G_INPUT = _request(_READ, 38, 4)
S_INPUT = _request(_BOTH, 39, 4)
TRY_FMT = _request(_BOTH, 64, 208)
ENUM_FRAMESIZES = _request(_BOTH, 74, 44)
ENUM_FRAMEINTERVALS = _request(_BOTH, 75, 52)

CAP_VIDEO_CAPTURE, CAP_META_CAPTURE = 0x1, 0x0080_0000
CAP_STREAMING, CAP_DEVICE_CAPS = 0x0400_0000, 0x8000_0000
TYPE_VIDEO_CAPTURE, MEMORY_MMAP, FIELD_NONE, DISCRETE = 1, 1, 1, 1
COLORSPACE_SRGB = 8
PARM_TIMEPERFRAME = 0x1000
FORMAT_COMPRESSED = 1
INPUT_CAMERA = 2
BUFFER_MAPPED, BUFFER_QUEUED, BUFFER_DONE, BUFFER_ERROR = 0x1, 0x2, 0x4, 0x40
BUFFER_MONOTONIC, BUFFER_START_OF_EXPOSURE = 0x2000, 0x0001_0000
CONTROL_BRIGHTNESS, CONTROL_GAIN = 0x0098_0900, 0x0098_0913
CONTROL_INTEGER, CONTROL_NEXT = 1, 0x8000_0000


def fourcc(name: str) -> int:
    """The pixel format of four characters as a number."""
    return int.from_bytes(name.encode("ascii").ljust(4), "little")


def fourcc_name(number: int) -> str:
    """The four characters of a pixel format."""
    return number.to_bytes(4, "little").decode("latin-1")
