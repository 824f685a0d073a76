"""Colours that a challenge has a screen show to a face: the words, and the rows of them that may be drawn."""

from __future__ import annotations

from enum import StrEnum


class Hue(StrEnum):
    """What the screen shows, each a sixth of the circle of hues from the next."""

    RED = "red"
    YELLOW = "yellow"
    GREEN = "green"
    CYAN = "cyan"
    BLUE = "blue"
    MAGENTA = "magenta"


FEWEST_FLASHES = 3
MOST_FLASHES = 8


def flash_rows(count: int) -> int:
    """How many rows of `count` hues may be drawn: 120, 480, 1920, 7680, 30720, 122880 of 3 to 8.

    Of three in a row no two are alike: every row has three hues at least, and each shows as a change. Raises
    `ValueError` for a count out of range.
    """
    if not FEWEST_FLASHES <= count <= MOST_FLASHES:
        raise ValueError(f"a row has {FEWEST_FLASHES} to {MOST_FLASHES} flashes, not {count}")
    return 30 * int(4 ** (count - 2))


def flash_row(number: int, count: int) -> tuple[Hue, ...]:
    """Row `number` (0 up to `flash_rows(count)`) of those that may be drawn. Raises `ValueError` out of range."""
    if not 0 <= number < flash_rows(count):
        raise ValueError(f"there is no row {number} of {count} flashes")
    row: list[Hue] = []
    for _ in range(count):
        free = [hue for hue in Hue if hue not in row[-2:]]
        number, place = divmod(number, len(free))
        row.append(free[place])
    return tuple(row)
