"""Transfers of the host, and the IN endpoints at which they wait."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from threading import Timer


class CompletionStatus(IntEnum):
    """How a transfer ended."""

    DONE = 0
    STALLED = 1
    GONE = 2


class Stall(Exception):
    """The device refuses the request: a STALL handshake on the wire."""


class Unplugged(Exception):
    """There is no device at the end of the cable."""


Done = Callable[[CompletionStatus, bytes], None]
"""Called once when a transfer ends, on the thread that ended it; must not block."""


class Transfer:
    """One transfer that the host has asked for; into the host of up to `length` bytes."""

    def __init__(self, length: int, done: Done) -> None:
        self.length = length
        self.done = done


class InPipe:
    """An IN endpoint: what the device has ready and from when on, and which transfers wait for it.

    Its owner holds the lock; `wake` has `serve` called again, under that lock, after some seconds.
    """

    def __init__(self, wake: Callable[[float], Timer]) -> None:
        self._wake = wake
        self._alarm: Timer | None = None
        self._ready: deque[tuple[float, bytes]] = deque()
        self._waiting: deque[Transfer] = deque()
        self._halted = False

    def push(self, message: bytes, seconds: float) -> None:
        """Have `message` ready `seconds` after whatever is to go before it."""
        now = time.monotonic()
        before = self._ready[-1][0] if self._ready else now
        self._ready.append((max(before, now) + seconds if seconds else before, message))
        self.serve()

    def submit(self, transfer: Transfer) -> None:
        """Let a transfer wait for the next message; a halted endpoint refuses it."""
        if self._halted:
            transfer.done(CompletionStatus.STALLED, b"")
            return
        self._waiting.append(transfer)
        self.serve()

    def cancel(self, transfer: Transfer) -> bool:
        """Withdraw a transfer; false if it does not wait any more."""
        if transfer not in self._waiting:
            return False
        self._waiting.remove(transfer)
        if not self._waiting:
            self._silence_alarm()
        return True

    def flush(self) -> None:
        """Forget what the device had ready."""
        self._ready.clear()
        self._silence_alarm()

    def fail(self, status: CompletionStatus) -> None:
        """End every waiting transfer without data."""
        while self._waiting:
            self._waiting.popleft().done(status, b"")

    def halt(self) -> None:
        """Refuse every transfer, those that wait included, until `resume` (USB 2.0, 5.8.5)."""
        self._halted = True
        self.fail(CompletionStatus.STALLED)

    def resume(self) -> None:
        """End `halt`."""
        self._halted = False

    def serve(self) -> None:
        """Give waiting transfers what is ready by now."""
        self._silence_alarm()
        while self._ready and self._waiting:
            due, message = self._ready[0]
            early = due - time.monotonic()
            if early > 0:
                self._alarm = self._wake(early)
                return
            self._ready.popleft()
            transfer = self._waiting.popleft()
            if len(message) > transfer.length:
                self._ready.appendleft((due, message[transfer.length :]))
            transfer.done(CompletionStatus.DONE, message[: transfer.length])

    def _silence_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
