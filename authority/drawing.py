"""What a challenge draws for the person: digits to speak, gestures, and the colours that light the face."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from authority.runtime import Runtime
from protocol.flashes import flash_row, flash_rows
from protocol.gestures import rows

DIGITS = 8


def draw_digits(rt: Runtime) -> str:
    """Eight random decimal digits to speak, none three times in a row."""
    while True:
        digits = f"{int.from_bytes(rt.random(16), 'big') % 10**DIGITS:0{DIGITS}d}"
        if not any(digit * 3 in digits for digit in set(digits)):
            return digits


def draw_gestures(rt: Runtime) -> list[str]:
    """One of the admissible rows of as many gestures as the policy wants, each as likely as any other."""
    admissible = rows(rt.policy.challenge.gestures)
    return [*admissible[int.from_bytes(rt.random(16), "big") % len(admissible)]]


def draw_flashes(rt: Runtime) -> list[str] | UnsetType:
    """One of the rows of as many hues as the policy wants, each as likely as any other; none where it wants none."""
    count = rt.policy.challenge.flashes
    if not count:
        return UNSET
    return [*flash_row(int.from_bytes(rt.random(16), "big") % flash_rows(count), count)]
