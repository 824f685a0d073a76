"""A screen that is too bright for its room, made less so."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from hal import Colour, Deadline, DeviceInfo, Display


class Dimmed:
    """A `Display` that sends out `brightness` (above 0, to 1) of the light of every colour, and its hue unchanged."""

    def __init__(self, screen: Display, brightness: float) -> None:
        self._screen, self._brightness = screen, brightness

    @property
    def info(self) -> DeviceInfo:
        """The screen's own identity."""
        return self._screen.info

    def fill(self, colour: Colour, deadline: Deadline) -> int:
        """As a `Display` does, in less light."""
        return self._screen.fill(dimmed(colour, self._brightness), deadline)

    def close(self) -> None:
        """Close the screen itself."""
        self._screen.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def dimmed(colour: Colour, brightness: float) -> Colour:
    """The sRGB colour that gives `brightness` times the light of `colour` (IEC 61966-2-1), to the nearest step."""
    return Colour(*(_encoded(brightness * _linear(part)) for part in (colour.red, colour.green, colour.blue)))


def _linear(part: int) -> float:
    value = part / 255
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def _encoded(light: float) -> int:
    value = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return round(255 * value)
