"""Bytes to keys."""

from __future__ import annotations

import random

import pytest
from keyvigil_keystroke.scan_codes import ScanCodes

from hal import DeviceError, Disconnected, ProtocolError


def keys(data: bytes) -> list[tuple[int, bool]]:
    codes = ScanCodes()
    return [found for byte in data if (found := codes.feed(byte)) is not None]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("1c f01c", [(0x1C, True), (0x1C, False)]),
        ("e075 e0f075", [(0xE075, True), (0xE075, False)]),
        ("1c 32 f01c f032", [(0x1C, True), (0x32, True), (0x1C, False), (0x32, False)]),
        ("e11477e1f014f077 1c", [(0x1C, True)]),
    ],
)
def test_make_break_extended_overlapping_and_pause(data: str, expected: list[tuple[int, bool]]) -> None:
    assert keys(bytes.fromhex(data)) == expected


@pytest.mark.parametrize(
    ("data", "error"), [("aa", Disconnected), ("00", ProtocolError), ("f0ff", ProtocolError), ("99", ProtocolError)]
)
def test_what_is_no_key_is_an_error_and_the_next_byte_begins_anew(data: str, error: type[DeviceError]) -> None:
    codes = ScanCodes()
    with pytest.raises(error):
        for byte in bytes.fromhex(data):
            codes.feed(byte)
    assert codes.feed(0x1C) == (0x1C, True)


def test_any_bytes_give_keys_or_errors_of_the_tree() -> None:
    noise, codes = random.Random(1), ScanCodes()
    found = errors = 0
    for _ in range(100_000):
        try:
            found += codes.feed(noise.randrange(256)) is not None
        except DeviceError:
            errors += 1
    assert found > 10_000
    assert errors > 10_000
