"""Scan code set 2 of a PS/2 keyboard (IBM PS/2 technical reference): bytes to keys, without any I/O."""

from __future__ import annotations

from hal import Disconnected, ProtocolError

_BREAK, _EXTENDED, _PAUSE = 0xF0, 0xE0, 0xE1
_PAUSE_REST = 7
"""Bytes after the first of the key Pause, which alone has no break code."""
_RESTARTED = 0xAA
_OVERRUN = frozenset({0x00, 0xFF})
_HIGHEST = 0x83


class ScanCodes:
    """Turns a stream of bytes into keys that go down and up."""

    def __init__(self) -> None:
        self._extended = self._break = False
        self._skip = 0

    def feed(self, byte: int) -> tuple[int, bool] | None:
        """Code and whether it was pressed, once its last byte is there.

        Raises `Disconnected` when the keyboard says that it has just been powered, `ProtocolError` when it lost keys or
        sends what is no scan code; the next byte begins anew then.
        """
        if self._skip:
            self._skip -= 1
            return None
        if byte == _EXTENDED:
            self._extended = True
        elif byte == _BREAK:
            self._break = True
        elif byte == _PAUSE:
            self._skip = _PAUSE_REST
        else:
            return self._finish(byte)
        return None

    def _finish(self, byte: int) -> tuple[int, bool]:
        code, pressed = (_EXTENDED << 8 | byte if self._extended else byte), not self._break
        self._extended = self._break = False
        if byte == _RESTARTED:
            raise Disconnected("the keyboard was unplugged from its converter and started again")
        if byte in _OVERRUN:
            raise ProtocolError("the keyboard lost keys", remedy="Type slower; one key after another.")
        if byte > _HIGHEST:
            raise ProtocolError(f"{byte:#04x} is no scan code of set 2")
        return code, pressed
