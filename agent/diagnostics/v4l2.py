"""Asking a V4L2 node what it is (ioctl VIDIOC_QUERYCAP, linux/videodev2.h)."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

_QUERYCAP_BYTES = 104
_VIDIOC_QUERYCAP = 0x80685600
_CAPABILITIES_AT, _DEVICE_CAPS_AT = 84, 88
_VIDEO_CAPTURE, _VIDEO_CAPTURE_MPLANE, _DEVICE_CAPS = 0x1, 0x1000, 0x80000000


def captures(node: Path) -> bool | None:
    """Whether the node gives pictures; `None` when it does not tell."""
    answer = bytearray(_QUERYCAP_BYTES)
    try:
        handle = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.ioctl(handle, _VIDIOC_QUERYCAP, answer)
    except OSError:
        return None
    finally:
        os.close(handle)
    return _has_capture(bytes(answer))


def _has_capture(answer: bytes) -> bool:
    (capabilities,) = struct.unpack_from("=I", answer, _CAPABILITIES_AT)
    if capabilities & _DEVICE_CAPS:
        (capabilities,) = struct.unpack_from("=I", answer, _DEVICE_CAPS_AT)
    return bool(capabilities & (_VIDEO_CAPTURE | _VIDEO_CAPTURE_MPLANE))
