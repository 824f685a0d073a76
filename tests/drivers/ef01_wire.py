"""Images as an EF01 module sends them, put together by hand, for tests of what the driver makes of the bytes."""

from __future__ import annotations

import struct

import numpy as np

IMAGE_BYTES = 36_864
ACKNOWLEDGEMENT = bytes.fromhex("ef01ffffffff07000300000a")
SIZES = (32, 64, 128, 256)


def packet(kind: int, payload: bytes, address: int = 0xFFFFFFFF) -> bytes:
    body = struct.pack(">BH", kind, len(payload) + 2) + payload
    return b"\xef\x01" + struct.pack(">I", address) + body + struct.pack(">H", sum(body) & 0xFFFF)


def image(seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(IMAGE_BYTES)


def packets(data: bytes, size: int) -> list[bytes]:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return [packet(0x02, piece) for piece in pieces[:-1]] + [packet(0x08, pieces[-1])]


def transfer(data: bytes, size: int) -> bytes:
    return ACKNOWLEDGEMENT + b"".join(packets(data, size))
