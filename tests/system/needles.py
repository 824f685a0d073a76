"""Secrets looked for in every form that a program might have written them in."""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

WINDOW = 32
"""Bytes of a longer secret that are looked for at a time."""
_DIGITS = 14
"""Characters of a printed value, which no other number begins with by chance."""
LEAST_DISTINCT = 8
"""A window with fewer different bytes may stand anywhere by chance."""


@dataclass(frozen=True)
class Needle:
    """One secret under the name that a failed test shows; never the secret itself."""

    name: str
    forms: Sequence[bytes] = field(repr=False)

    @classmethod
    def of_bytes(cls, name: str, secret: bytes) -> Needle:
        """Raw, hexadecimal, and base64 of both alphabets at every alignment."""
        windows = _windows(secret)
        assert windows, f"{name} has no window worth looking for"
        return cls(name, [form for window in windows for form in _forms(window)])

    @classmethod
    def of_text(cls, name: str, secret: str) -> Needle:
        """As `of_bytes`; a text is looked for as a whole."""
        return cls(name, _forms(secret.encode()))

    @classmethod
    def of_vector(cls, name: str, secret: bytes) -> Needle:
        """As `of_bytes`, and the int16 values in decimal, as a list would be printed."""
        values = np.frombuffer(secret, "<i2")
        parts = [values[at : at + 6] for at in range(0, len(values) - 6, max(1, len(values) // 4))]
        printed = [joiner.join(map(str, part)).encode() for part in parts if part.all() for joiner in (",", ", ", " ")]
        return cls(name, [*cls.of_bytes(name, secret).forms, *printed])

    @classmethod
    def of_embedding(cls, name: str, secret: bytes) -> Needle:
        """Of float32 `[d]`: as `of_bytes` in single and double precision, and single values in decimal."""
        values = np.frombuffer(secret, "<f4")
        doubles = cls.of_bytes(name, values.astype("<f8").tobytes()).forms
        printed = [repr(float(value))[:_DIGITS].encode() for value in values[:: max(1, len(values) // 8)]]
        return cls(
            name, [*cls.of_bytes(name, secret).forms, *doubles, *(each for each in printed if len(each) == _DIGITS)]
        )

    def found_in(self, data: bytes) -> bool:
        """Whether `data` holds it in any form."""
        return any(form in data for form in self.forms)


@dataclass(frozen=True)
class DigitsNeedle(Needle):
    """A short number: it counts only where it stands alone, not within a longer one."""

    def found_in(self, data: bytes) -> bool:
        return any(re.search(rb"(?<!\d)" + re.escape(form) + rb"(?!\d)", data) for form in self.forms)


def _windows(secret: bytes) -> list[bytes]:
    if len(secret) <= WINDOW:
        return [secret]
    starts = sorted({0, len(secret) // 3, 2 * len(secret) // 3, len(secret) - WINDOW})
    cut = [secret[start : start + WINDOW] for start in starts]
    return [window for window in cut if len(set(window)) >= LEAST_DISTINCT]


def _forms(secret: bytes) -> list[bytes]:
    encoded = [form for shift in range(3) for form in _base64(secret, shift)]
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), *encoded]


def _base64(secret: bytes, shift: int) -> Iterator[bytes]:
    """The characters that depend on the secret alone, when `shift` bytes precede it."""
    first = -(-shift * 8 // 6)
    last = (shift + len(secret)) * 8 // 6
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(bytes(shift) + secret)[first:last]


def files_below(folder: Path, without: Collection[str] = ()) -> Iterator[tuple[Path, bytes]]:
    """Every regular file below `folder` with its content, but those that have, or lie below, a name of `without`."""
    for path in sorted(folder.rglob("*")):
        if not set(without).isdisjoint(path.relative_to(folder).parts):
            continue
        try:
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path, path.read_bytes()
        except FileNotFoundError:
            continue


def worth_looking_for(secret: bytes) -> bool:
    """Whether it is long and varied enough not to stand anywhere by chance."""
    return len(secret) >= LEAST_DISTINCT * 2 and bool(_windows(secret))


def leaks(needles: Sequence[Needle], places: Iterator[tuple[object, bytes]]) -> list[str]:
    """Which secret was found where."""
    return [f"{needle.name} in {place}" for place, data in places for needle in needles if needle.found_in(data)]
