"""What comes out of a camera's bytes, read by pure functions: structures, pixels, JPEG and HTTP heads, settling."""

from __future__ import annotations

import contextlib
import struct
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.opencv_camera import _videodev as v4l2
from drivers.opencv_camera._formats import choose, is_infrared
from drivers.opencv_camera._network import leads_to_jpeg, parse_head
from drivers.opencv_camera._pixels import check_format, decode, decode_jpeg, jpeg_size
from drivers.opencv_camera._settling import Settling
from hal import CameraFormat, ProtocolError, SystemClock, Unsupported

STRUCTURES = {
    v4l2.parse_capability: 104,
    v4l2.parse_format_description: 64,
    v4l2.parse_format: 208,
    v4l2.parse_buffer: 88,
    v4l2.parse_buffer_count: 20,
    (lambda raw: v4l2.offers_size(raw, 640, 480)): 44,
    (lambda raw: v4l2.offers_rate(raw, 30.0)): 52,
}
FOURCCS = ["GREY", "Y8  ", "Y10 ", "Y12 ", "Y16 ", "YUYV", "UYVY", "NV12", "BGR3", "RGB3", "MJPG", "JPEG", "H264"]


def jpeg(height: int = 16, width: int = 32) -> bytes:
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


@pytest.mark.parametrize("number", range(len(STRUCTURES)))
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_structure_of_any_bytes_is_read_or_refused(number: int, data: st.DataObject) -> None:
    parse, size = list(STRUCTURES.items())[number]
    length = data.draw(st.sampled_from([size, size, size, size - 1, size + 1, 0]))
    raw = data.draw(st.binary(min_size=length, max_size=length))
    try:
        parse(raw)
        assert length == size
    except ProtocolError:
        pass


def test_structures_have_the_sizes_that_their_requests_tell() -> None:
    for request, raw in [
        (v4l2.S_FMT, v4l2.format_request(640, 480, "GREY")),
        (v4l2.REQBUFS, v4l2.buffer_request(4)),
        (v4l2.QBUF, v4l2.buffer_at(3)),
        (v4l2.ENUM_FMT, v4l2.description_at(1)),
        (v4l2.ENUM_FRAMESIZES, v4l2.frame_size_at(0, "GREY")),
        (v4l2.ENUM_FRAMEINTERVALS, v4l2.frame_interval_at(0, "GREY", 640, 480)),
        (v4l2.S_PARM, v4l2.rate_request(29.97)),
    ]:
        assert request >> 16 & 0x3FFF == len(raw)
    # linux/videodev2.h as strace prints it.
    assert (v4l2.QUERYCAP, v4l2.S_FMT, v4l2.DQBUF) == (0x80685600, 0xC0D05605, 0xC0585611)


def buffer(flags: int, sequence: int = 7, used: int = 100) -> bytes:
    return struct.pack("=5I4xqq16xIIQI12x", 1, 1, used, flags, 1, 12, 500_000, sequence, 1, 4096, 307_200)


def test_kernel_time_is_taken_only_when_it_is_monotonic() -> None:
    assert v4l2.parse_buffer(buffer(0x2000)).captured_ns == 12_500_000_000
    assert v4l2.parse_buffer(buffer(0x4000)).captured_ns is None
    assert v4l2.parse_buffer(buffer(0)).captured_ns is None


def test_damage_is_what_the_kernel_flags() -> None:
    assert v4l2.parse_buffer(buffer(0x2040)).damaged
    assert not v4l2.parse_buffer(buffer(0x2000)).damaged


def test_ranges_of_sizes_count_in_their_steps() -> None:
    raw = struct.pack("=9I8x", 0, 0, 3, 160, 1920, 32, 120, 1080, 8)
    assert v4l2.offers_size(raw, 640, 480)
    assert not v4l2.offers_size(raw, 650, 480)
    assert not v4l2.offers_size(raw, 2560, 480)


@settings(max_examples=400, deadline=None)
@given(
    fourcc=st.sampled_from(FOURCCS),
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    line=st.integers(0, 200),
    image=st.integers(1, 8000),
    raw=st.binary(max_size=8000),
)
def test_pixels_of_any_bytes_are_a_picture_of_the_right_size_or_refused(
    fourcc: str, sides: tuple[int, int], line: int, image: int, raw: bytes
) -> None:
    form = v4l2.PixelFormat(sides[0], sides[1], fourcc, line, image)
    try:
        check_format(form)
        assert decode(raw, form).shape == (sides[1], sides[0], 3)
    except (ProtocolError, Unsupported):
        pass


@pytest.mark.parametrize("fourcc", ["GREY", "Y16 ", "YUYV", "NV12", "RGB3"])
def test_padding_at_the_end_of_lines_is_left_out(fourcc: str) -> None:
    width, height, bytes_each = 8, 4, {"GREY": 1, "Y16 ": 2, "YUYV": 2, "NV12": 1, "RGB3": 3}[fourcc]
    lines = height * 3 // 2 if fourcc == "NV12" else height
    tight = np.random.default_rng(2).integers(0, 256, (lines, width * bytes_each), np.uint8)
    padded = np.pad(tight, ((0, 0), (0, 10)), constant_values=99)
    forms = [v4l2.PixelFormat(width, height, fourcc, grid.shape[1], grid.size) for grid in (tight, padded)]
    pictures = [decode(grid.tobytes(), form) for grid, form in zip((tight, padded), forms, strict=True)]
    np.testing.assert_array_equal(*pictures)


def test_ten_bits_are_scaled_and_never_wrap() -> None:
    form = v4l2.PixelFormat(4, 1, "Y10 ", 8, 8)
    words = np.array([0, 4, 1023, 65535], "<u2").tobytes()
    assert decode(words, form)[0, :, 0].tolist() == [0, 1, 255, 255]


def test_jpeg_says_its_size_and_another_is_not_decoded() -> None:
    assert jpeg_size(jpeg()) == (32, 16)
    assert decode_jpeg(jpeg() + b"\0" * 2000, 32, 16).shape == (16, 32, 3)
    with pytest.raises(ProtocolError, match="another size"):
        decode_jpeg(jpeg(), 640, 480)


def test_jpeg_that_claims_to_be_huge_takes_no_memory() -> None:
    bomb = bytearray(jpeg())
    at = bomb.index(b"\xff\xc0")
    bomb[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(ProtocolError):
        decode_jpeg(bytes(bomb), 32, 16)


@settings(max_examples=300, deadline=None)
@given(cut=st.integers(0, 2000), at=st.integers(0, 2000), bits=st.integers(1, 255))
def test_broken_jpeg_is_a_picture_or_refused(cut: int, at: int, bits: int) -> None:
    raw = bytearray(jpeg())
    raw[at % len(raw)] ^= bits
    with contextlib.suppress(ProtocolError):
        assert decode_jpeg(bytes(raw[: len(raw) - cut]), 32, 16).shape == (16, 32, 3)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_jpeg_header_of_any_bytes_is_read_or_refused(tail: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        jpeg_size(b"\xff\xd8" + tail + b"\xff\xd9")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_http_head_of_any_bytes_is_read_or_refused(tail: bytes) -> None:
    try:
        status, media_type = parse_head(b"HTTP/1.1 200 OK\r\n" + tail)
        assert status == 200
        assert media_type.count("/") == 1
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    ("lead", "verdict"),
    [
        (b"-", None),
        (b"--b\r\nContent-Type: image/jpeg\r\n", None),
        (b"--b\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8", True),
        (b"--b\nContent-Length: 4\n\n\xff\xd8..", True),
        (b"--b\r\nContent-Type: image/jpeg\r\n\r\nGIF89a", False),
        (b"#EXTM3U", False),
        (b"--b\r\n" + b"a: b\r\n" * 400, False),
    ],
)
def test_body_that_leads_to_a_picture(lead: bytes, verdict: bool | None) -> None:
    assert leads_to_jpeg(lead) is verdict


def test_hostile_head_takes_no_time() -> None:
    begin = time.process_time()
    for lead in (
        b"--b\r\n" + b"a: b\r\n" * 160,
        b"--" + b"\n" * 1000,
        b"--b\n" + b"a\r" * 500,
        b"--b\n" + b"\r" * 1000,
    ):
        leads_to_jpeg(lead)
    assert time.process_time() - begin < 0.1


# Choice of format.


@pytest.mark.parametrize(
    ("offered", "infrared"),
    [(["GREY"], True), (["Y16 ", "Y8I "], True), (["GREY", "YUYV"], False), (["MJPG"], False), (["H264"], False)],
)
def test_infrared_is_a_camera_that_offers_grey_alone(offered: list[str], infrared: bool) -> None:
    assert is_infrared(offered) is infrared


def test_compressed_format_is_taken_when_only_it_reaches_size_and_rate() -> None:
    asked = CameraFormat(1280, 720, 30.0)
    assert choose(asked, ["YUYV", "MJPG"], lambda name: name == "MJPG") == "MJPG"
    assert choose(asked, ["YUYV", "MJPG"], lambda name: True) == "YUYV"
    assert choose(asked, ["MJPG", "YUYV"], lambda name: False) == "YUYV"


def test_camera_without_any_known_format_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="H264"):
        choose(CameraFormat(), ["H264"], lambda name: True)


# Settling.


def admitted_at(levels: list[int], warmup: int = 0, seconds: float = 60.0) -> int | None:
    """The index of the first frame that is handed out."""
    settling = Settling(warmup, seconds, SystemClock())
    verdicts = [settling.admits(np.full((16, 16, 3), level, np.uint8)) for level in levels]
    return verdicts.index(True) if True in verdicts else None


def test_settling_waits_for_six_steady_frames() -> None:
    assert admitted_at([10, 40, 80, 110, 120, *[122] * 20]) == 9
    assert admitted_at([100] * 20) == 5
    assert admitted_at([100] * 20, seconds=0) == 0
    assert admitted_at([100] * 20, warmup=4, seconds=0) == 4


def test_settling_gives_up_after_ninety_frames() -> None:
    assert admitted_at([(index * 37) % 256 for index in range(200)]) == 89
