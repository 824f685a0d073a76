"""What cameras send: V4L2 structures, pixels, JPEG, HTTP heads."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from drivers.opencv_camera import _videodev as v4l2
from drivers.opencv_camera._network import parse_head
from drivers.opencv_camera._pixels import check_format, decode, decode_jpeg, jpeg_size
from hal import ProtocolError, Unsupported
from tests.fuzz._target import Target

_SIDE = 16
_FORMATS = tuple(
    struct.pack("<I4xIIIIII", 1, _SIDE, _SIDE, v4l2.fourcc_number(fourcc), 1, line, line * rows).ljust(208, b"\0")
    for fourcc, line, rows in (("GREY", 16, 16), ("YUYV", 32, 16), ("NV12", 16, 24), ("Y16 ", 32, 16), ("RGB3", 48, 16))
)


def _jpeg() -> bytes:
    picture = np.random.default_rng(1).integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _frame(data: bytes) -> object:
    """A format as the node describes it, and then a buffer of it."""
    form = v4l2.parse_format(data[:208])
    check_format(form)
    return decode(data[208:], form)


def _frame_size(data: bytes) -> object:
    return v4l2.offers_size(data, 640, 480)


def _frame_rate(data: bytes) -> object:
    return v4l2.offers_rate(data, 30.0)


def _jpeg_frame(data: bytes) -> object:
    return decode_jpeg(data, _SIDE, _SIDE)


_BUFFERS = (bytes(v4l2.buffer_at(1)),)
_HEADS = (b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n",)
_REFUSED = (ProtocolError,)

CAMERA_TARGETS: tuple[Target, ...] = (
    Target("v4l2-capability", v4l2.parse_capability, _REFUSED, (b"uvcvideo".ljust(104, b"\1"),)),
    Target("v4l2-description", v4l2.parse_format_description, _REFUSED, (bytes(v4l2.description_at(0)),)),
    Target("v4l2-frame", _frame, (ProtocolError, Unsupported), tuple(form + bytes(768) for form in _FORMATS)),
    Target("v4l2-buffer", v4l2.parse_buffer, _REFUSED, _BUFFERS),
    Target("v4l2-buffer-count", v4l2.parse_buffer_count, _REFUSED, (bytes(v4l2.buffer_request(4)),)),
    Target("v4l2-frame-size", _frame_size, _REFUSED, (bytes(v4l2.frame_size_at(0, "GREY")),)),
    Target("v4l2-frame-rate", _frame_rate, _REFUSED, (bytes(v4l2.frame_interval_at(0, "GREY", 640, 480)),)),
    Target("jpeg-size", jpeg_size, _REFUSED, (_jpeg(),)),
    Target("jpeg-frame", _jpeg_frame, _REFUSED, (_jpeg(),)),
    Target("http-head", parse_head, _REFUSED, _HEADS),
)
