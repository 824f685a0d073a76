"""What can be asked of a keyboard: the interface between the driver and the modality of this package."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

from hal import Deadline, Device

KIND = "keyboard"
"""Kind of the device, as driver and modality name it."""

ENTER = 0x5A
BACKSPACE = 0x66
_LETTERS = bytes.fromhex("1c 32 21 23 24 2b 34 33 43 3b 42 4b 3a 31 44 4d 15 2d 1b 2c 3c 2a 1d 22 35 1a")
_DIGITS = bytes.fromhex("45 16 1e 26 25 2e 36 3d 3e 46")
CHARACTERS = {
    **dict(zip("abcdefghijklmnopqrstuvwxyz", _LETTERS, strict=True)),
    **dict(zip("0123456789", _DIGITS, strict=True)),
    " ": 0x29,
}
"""Scan codes (set 2, US layout) of what a phrase may consist of."""


@dataclass(frozen=True)
class KeyEvent:
    """A key that went down or up: `code` of scan code set 2 (0xE0xx when extended), `at_ns` monotonic on arrival."""

    code: int
    pressed: bool
    sequence: int
    at_ns: int


class Keyboard(Device, Protocol):
    """A keyboard that reports keys while its events are iterated."""

    def events(self, deadline: Deadline, on_ready: Callable[[], None]) -> Generator[KeyEvent, None, None]:
        """Keys as they move, until the generator is closed; `on_ready` is called once they are reported.

        Raises `TimedOut` at the deadline, `Disconnected`, `ProtocolError`.
        """
        ...
