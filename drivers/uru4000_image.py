"""Images of the U.are.U 4000B/4500: header, descrambling, orientation.

The reader's "encryption" is the exclusive or with a 32-bit shift register whose key the host may ask for. It hides
nothing from anybody at the cable; an image is no more authentic for having been scrambled.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hal import ProtocolError

WIDTH, HEIGHT, DPI = 384, 290, 512
"""Geometry in pixels, resolution in pixels per inch."""

HEADER_BYTES = 64
_BLOCK_TABLE, _BLOCK_SLOTS = 16, 15
_ABSENT, _SCRAMBLED, _NO_KEY_UPDATE, _CHANGE_KEY = 0x01, 0x02, 0x04, 0x80
_TAPS = tuple(bit for bit in range(32) if 0x9248144D >> bit & 1)
_KEYSTREAM_BITS = (4, 8, 11, 14, 18, 21, 24, 29)
_CLEAR_BELOW = 8000.0
"""Mean square of the difference between neighbouring lines: uniform noise has 10922, a fingerprint at most 4000."""

Pixels = NDArray[np.uint8]
KeyExchange = Callable[[int], int]
"""From a key's number to the 32-bit key."""


class Block(NamedTuple):
    """A run of lines that travelled alike."""

    flags: int
    lines: int


class Header(NamedTuple):
    """What precedes the lines: how many were sent, under which key, in which blocks."""

    lines: int
    key_number: int
    blocks: tuple[Block, ...]


def parse_header(message: bytes) -> Header:
    """The 64-byte header of an image message; raises `ProtocolError` unless it and the message agree."""
    if len(message) < HEADER_BYTES:
        raise ProtocolError(f"the image is cut off inside its header, after {len(message)} bytes")
    lines, key_number = struct.unpack_from("<HB", message, 4)
    if not 0 < lines < HEIGHT:
        raise ProtocolError(f"the image claims {lines} lines")
    if len(message) != HEADER_BYTES + lines * WIDTH:
        raise ProtocolError(f"the image of {lines} lines has {len(message)} bytes")
    table = message[_BLOCK_TABLE : _BLOCK_TABLE + 2 * _BLOCK_SLOTS]
    blocks = []
    for flags, count in zip(table[::2], table[1::2], strict=True):
        if count == 0:
            break
        blocks.append(Block(flags, count))
    _check_blocks(lines, blocks)
    return Header(lines, key_number, tuple(blocks))


def decode_image(message: bytes, exchange_key: KeyExchange) -> Pixels:
    """Pixels of an image message, uint8 `[290, 384]`, dark ridges on light, upright; absent lines are white.

    `exchange_key` is asked for a key at the first block and wherever the key changes. The last pixel of a scrambled
    block does not travel and is white. Raises `ProtocolError`.
    """
    header = parse_header(message)
    sensed = np.frombuffer(message, np.uint8, offset=HEADER_BYTES).reshape(header.lines, WIDTH)
    if _has_scrambled_block(header) and not _is_clear(sensed):
        sensed = _descrambled(header, sensed, exchange_key)
    return np.ascontiguousarray(np.uint8(255) - _placed(header, sensed)[::-1, ::-1])


def keystream(key: int, count: int) -> tuple[Pixels, int]:
    """`count` keystream bytes (at most an image's) from the 32-bit `key`, and the key after as many steps.

    The register is linear, so a key's keystream is the exclusive or of those of its bits, which are kept.
    """
    streams, bits = _single_bit_streams()
    chosen = [place for place in range(32) if key >> place & 1]
    stream = np.zeros(count, np.uint8)
    after = np.zeros(32, np.uint8)
    for place in chosen:
        stream ^= streams[place, :count]
        after ^= bits[place, count : count + 32]
    return stream, int.from_bytes(np.packbits(after, bitorder="little").tobytes(), "little")


@cache
def _single_bit_streams() -> tuple[Pixels, Pixels]:
    """Of each key that has one bit set: an image's keystream bytes, and the register's bits over time.

    These take 7 MB and are made at the first scrambled image.
    """
    bits = np.stack([_register_bits(1 << place, HEIGHT * WIDTH + 32) for place in range(32)])
    streams = np.zeros((32, HEIGHT * WIDTH), np.uint8)
    for place, bit in enumerate(_KEYSTREAM_BITS):
        streams |= bits[:, bit : bit + HEIGHT * WIDTH] << np.uint8(place)
    return streams, bits


def _register_bits(key: int, count: int) -> Pixels:
    """The register's lowest bit at each of `count` steps.

    It is one sequence with `b[n + 32] = parity of b[n + tap]`. Squaring a polynomial over GF(2) doubles its exponents,
    so `b[n + 32 * 2^k] = parity of b[n + tap * 2^k]` holds too, and `2^k` bits follow from one exclusive or of slices.
    """
    bits = np.zeros(count, np.uint8)
    bits[:32] = [key >> place & 1 for place in range(32)]
    known, stride = 32, 1
    while known < count:
        if known >= 64 * stride:
            stride *= 2
        end = min(known + stride, count)
        for tap in _TAPS:
            start = known - (32 - tap) * stride
            bits[known:end] ^= bits[start : start + end - known]
        known = end
    return bits


def _check_blocks(lines: int, blocks: list[Block]) -> None:
    sent = sum(block.lines for block in blocks if not block.flags & _ABSENT)
    if sent != lines or sum(block.lines for block in blocks) > HEIGHT:
        raise ProtocolError(f"the image of {lines} lines describes blocks of {[block.lines for block in blocks]}")


def _has_scrambled_block(header: Header) -> bool:
    return any(block.flags & _SCRAMBLED for block in header.blocks)


def _is_clear(sensed: Pixels) -> bool:
    """Whether the lines are a picture although the header says scrambled, as some firmware does."""
    if len(sensed) < 2:
        return False
    lines = sensed.astype(np.int32)
    steps = lines[1:] - lines[:-1]
    return float(np.mean(steps * steps)) < _CLEAR_BELOW


def _descrambled(header: Header, sensed: Pixels, exchange_key: KeyExchange) -> Pixels:
    """Undo the scrambling block by block; the key runs on through the blocks until one changes it."""
    clear = sensed.copy()
    number, key, top = header.key_number, exchange_key(header.key_number), 0
    for flags, lines in header.blocks:
        if flags & _CHANGE_KEY:
            number = (number + 1) % 256
            key = exchange_key(number)
        if not flags & _NO_KEY_UPDATE:
            stream, key = keystream(key, lines * WIDTH)
            if flags & _SCRAMBLED and not flags & _ABSENT:
                flat = clear[top : top + lines].reshape(-1)
                flat[:-1] = flat[1:] ^ stream[:-1]
                flat[-1] = 0
        top += 0 if flags & _ABSENT else lines
    return clear


def _placed(header: Header, sensed: Pixels) -> Pixels:
    """The sent lines at their places in the field; the sensor's dark ground (0) where there are none."""
    field = np.zeros((HEIGHT, WIDTH), np.uint8)
    target = source = 0
    for flags, lines in header.blocks:
        if not flags & _ABSENT:
            field[target : target + lines] = sensed[source : source + lines]
            source += lines
        target += lines
    return field
