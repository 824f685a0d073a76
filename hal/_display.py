"""Screens, as a light on whoever looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hal._values import Deadline, Device


@dataclass(frozen=True)
class Colour:
    """An sRGB colour (IEC 61966-2-1): red, green and blue from 0 to 255 each. Raises `ValueError` for any other."""

    red: int
    green: int
    blue: int

    def __post_init__(self) -> None:
        if not all(0 <= part <= 255 for part in (self.red, self.green, self.blue)):
            raise ValueError("a colour has parts from 0 to 255")


class Display(Device, Protocol):
    """A screen whose whole surface is given one colour. Closing it restores what was shown before it was opened."""

    def fill(self, colour: Colour, deadline: Deadline) -> int:
        """Give all of the screen this colour; the monotonic time in nanoseconds from which it is sent to the screen.

        The panel itself follows within a frame or a few: up to about 50 ms. Raises `TimedOut`, `Disconnected`,
        `PermissionDenied`.
        """
        ...
