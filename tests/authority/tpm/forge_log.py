"""Event logs from their fields."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

SHA1, SHA256, SHA384 = 0x0004, 0x000B, 0x000C
NO_ACTION, SEPARATOR, ACTION, IPL = 3, 4, 5, 13
SIZES = {SHA1: 20, SHA256: 32, SHA384: 48}
NAMES = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384"}
SEPARATOR_DATA = bytes(4)


def legacy(pcr: int, kind: int, data: bytes, digest: bytes | None = None) -> bytes:
    """TCG_PCClientPCREvent."""
    digest = hashlib.sha1(data).digest() if digest is None else digest
    return struct.pack("<II", pcr, kind) + digest + struct.pack("<I", len(data)) + data


def header(*banks: int, sizes: Mapping[int, int] = SIZES, trailing: bytes = b"") -> bytes:
    """The first event of a crypto-agile log."""
    data = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(banks))
    data += b"".join(struct.pack("<HH", bank, sizes[bank]) for bank in banks) + b"\0" + trailing
    return legacy(0, NO_ACTION, data, bytes(20))


def event(pcr: int, kind: int, data: bytes, *banks: int, digest: bytes | None = None) -> bytes:
    """TCG_PCR_EVENT2; without a `digest` its digests are those of the data."""
    body = struct.pack("<III", pcr, kind, len(banks))
    for bank in banks:
        body += struct.pack("<H", bank) + (digest or hashlib.new(NAMES[bank], data).digest())
    return body + struct.pack("<I", len(data)) + data


def locality(value: int, pcr: int = 0) -> bytes:
    """A StartupLocality event in a log of SHA-256."""
    return event(pcr, NO_ACTION, b"StartupLocality\0" + bytes([value]), SHA256, digest=bytes(32))


def extended(before: bytes, *data: bytes) -> bytes:
    """A SHA-256 register after events that measure `data`."""
    for each in data:
        before = hashlib.sha256(before + hashlib.sha256(each).digest()).digest()
    return before


LOG = header(SHA256) + b"".join(event(pcr, SEPARATOR, SEPARATOR_DATA, SHA256) for pcr in range(8))
LOG += event(4, IPL, b"loader", SHA256)
"""A boot of one loader."""
OLD = legacy(0, ACTION, b"x") + legacy(4, IPL, b"loader")
