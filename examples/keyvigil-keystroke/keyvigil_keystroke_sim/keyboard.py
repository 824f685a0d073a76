"""A PS/2 keyboard (101/102 keys) behind a converter, at the far end of a pseudo-terminal.

From the IBM PS/2 technical reference, written apart from the driver: the keyboard answers commands, reports keys in
scan code set 2 while reporting is on, and says AA when it gets power.
"""

from __future__ import annotations

import heapq
import itertools
import os
import pty
import select
import threading
import time
import tty
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from keyvigil_keystroke_sim.typist import Move

SET_2 = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz0123456789 \n\b",
        bytes.fromhex("1c3221 23242b 343343 3b424b 3a3144 4d152d 1b2c3c 2a1d22 351a 45161e 26252e 363d3e 46 295a66"),
        strict=True,
    )
)
"""Make codes; the break code is F0 and the same."""

REACTION_S = 0.6
"""From being told to the first key."""


class Trouble(StrEnum):
    """What can go wrong with it on demand."""

    NONE = ""
    DEAF = "deaf"
    """Answers nothing, and no key does anything."""
    SLOW = "slow"
    """Answers each command after `SLOW_S`."""
    OTHER_DEVICE = "other-device"
    """Identifies as a mouse."""
    SHORT = "short"
    """Breaks off after half of its identification."""
    GARBLED = "garbled"
    """Asks for every command again."""
    NOISE = "noise"
    """Sends bytes that mean nothing, without end."""


SLOW_S = 0.3


class SimulatedKeyboard:
    """A keyboard that is plugged in at `link`, a path that leads to its pseudo-terminal. Every method is thread safe.

    `instant` leaves out the time that typing takes.
    """

    def __init__(self, link: Path, *, instant: bool = False) -> None:
        self.link = link
        self._instant = instant
        self._lock = threading.Lock()
        self._due: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()
        self._reporting = False
        self._trouble = Trouble.NONE
        self._master = self._slave = -1
        self._bell, self._ring = os.pipe()
        self._stopped = False
        self.plug()
        self._thread = threading.Thread(target=self._serve, name="keyboard", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def type(self, moves: Sequence[Move], reaction_s: float = REACTION_S) -> None:
        """Let somebody type, beginning `reaction_s` from now; returns at once."""
        begin = time.monotonic() + (0 if self._instant else reaction_s)
        with self._lock:
            for move in moves:
                at = begin + (0 if self._instant else move.at_s)
                code = bytes([SET_2[move.character]])
                self._push(at, code if move.pressed else b"\xf0" + code)
        self._wake()

    def press_raw(self, data: bytes) -> None:
        """Send bytes of one's own, as a key would, if reporting is on."""
        with self._lock:
            self._push(time.monotonic(), data)
        self._wake()

    def unplug(self) -> None:
        """Take the converter off the machine: the line hangs up and its node goes away."""
        with self._lock:
            self.link.unlink(missing_ok=True)
            for end in {self._master, self._slave} - {-1}:
                os.close(end)
            self._master = self._slave = -1
            self._reporting = False
            self._due.clear()
        self._wake()

    def plug(self) -> None:
        """Attach it again, at the same path; a keyboard that is attached stays as it is."""
        with self._lock:
            if self._master >= 0:
                return
            self._master, self._slave = pty.openpty()
            tty.setraw(self._slave)
            os.set_blocking(self._master, False)
            self.link.unlink(missing_ok=True)
            self.link.symlink_to(os.ttyname(self._slave))
        self._wake()

    def restart(self) -> None:
        """Pull the keyboard's own plug at the converter and put it back: it starts again and says so."""
        with self._lock:
            self._reporting = False
            self._due.clear()
            self._send(b"\xaa")

    def inject(self, trouble: Trouble) -> None:
        """Begin a trouble in place of the one before."""
        with self._lock:
            self._trouble = trouble
        self._wake()

    def mend(self) -> None:
        """End every trouble; it is usable as after power on."""
        self.inject(Trouble.NONE)

    @property
    def reporting(self) -> bool:
        """Whether keys are reported now."""
        return self._reporting

    def close(self) -> None:
        """Unplug it and end its thread."""
        self.unplug()
        self._stopped = True
        self._wake()
        self._thread.join()
        os.close(self._bell)
        os.close(self._ring)

    def _push(self, at: float, data: bytes) -> None:
        heapq.heappush(self._due, (at, next(self._order), data))

    def _wake(self) -> None:
        os.write(self._ring, b"!")

    def _serve(self) -> None:
        while not self._stopped:
            with self._lock:
                wait, master = self._play(), self._master
            ends = [self._bell] + ([master] if master >= 0 else [])
            try:
                ready, _, _ = select.select(ends, [], [], wait)
            except (OSError, ValueError):
                continue  # unplugged meanwhile
            if self._bell in ready:
                os.read(self._bell, 4096)
            if master in ready:
                with self._lock:
                    self._hear()

    def _play(self) -> float | None:
        """Send what is due; seconds until the next."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, data = heapq.heappop(self._due)
            if self._reporting and self._trouble is not Trouble.DEAF:
                self._send(data)
        if self._trouble is Trouble.NOISE:
            self._send(b"\x99" * 16)
            return 0.01
        return self._due[0][0] - now if self._due else None

    def _hear(self) -> None:
        self._play()  # a key that moved before the command is not reported after it
        try:
            commands = os.read(self._master, 64)
        except OSError:
            return
        for command in commands:
            self._obey(command)

    def _obey(self, command: int) -> None:
        if self._trouble in {Trouble.DEAF, Trouble.NOISE}:
            return
        if self._trouble is Trouble.SLOW:
            time.sleep(SLOW_S)
        if self._trouble is Trouble.GARBLED:
            self._send(b"\xfe")
            return
        self._send(b"\xfa")
        match command:
            case 0xF2:
                identity = b"\x03\x00" if self._trouble is Trouble.OTHER_DEVICE else b"\xab\x83"
                self._send(identity[:1] if self._trouble is Trouble.SHORT else identity)
            case 0xF4:
                self._reporting = True
            case 0xF5:
                self._reporting = False
                self._due.clear()
            case 0xFF:
                self._reporting = True
                self._send(b"\xaa")

    def _send(self, data: bytes) -> None:
        try:
            os.write(self._master, data)
        except (BlockingIOError, OSError):
            return  # nobody reads, or it is unplugged
