"""The wire between a TPM and whoever uses it: keeps what crosses it, and spoils it on demand."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.tpm_program import receive

WIRE_FAULTS = frozenset({Fault.SLOW, Fault.SHORT_READ, Fault.CORRUPT, Fault.WRONG_DESCRIPTOR})
"""The faults that a bus can play."""

STRANGER = b"220 mail.example ESMTP ready\r\n"
"""What something answers that is no TPM."""

Tamper = Callable[[bytes, bytes], bytes]
"""Command and answer to what is answered instead."""


class TpmBus:
    """Relays commands from the socket `path` to the TPM's own socket `target`; a context manager. Thread safe."""

    def __init__(self, path: Path, target: Path) -> None:
        """Listen; raises `OSError` when the path is taken."""
        self.path = path
        self.heard = bytearray()
        """Every command and answer, in order."""
        self.tamper: Tamper | None = None
        """Changes answers beside the faults; for a test's own attack."""
        self._target = target
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._orders: list[_Playing] = []
        self._hooks: list[tuple[int, Callable[[], None]]] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._workers = [self._begin(self._accept)]

    def play(self, order: FaultOrder) -> None:
        """Begin a fault of `WIRE_FAULTS`."""
        with self._lock:
            self._orders.append(_Playing(order))

    def end(self, order: FaultOrder) -> None:
        """End a fault that began."""
        with self._lock:
            self._orders = [playing for playing in self._orders if playing.order is not order]

    def after(self, messages: int, work: Callable[[], None]) -> None:
        """Run `work` once, before the command that follows so many."""
        with self._lock:
            self._hooks.append((messages, work))

    def close(self) -> None:
        """Hang up on everybody; closing twice is allowed."""
        self._closing.set()
        with self._lock:
            open_now = [self._listener, *self._open]
        for one in open_now:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for worker in list(self._workers):
            if worker is not threading.current_thread():
                worker.join()
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, work: Callable[..., None], *arguments: socket.socket) -> threading.Thread:
        worker = threading.Thread(target=work, args=arguments, name=f"bus {self.path}", daemon=True)
        worker.start()
        return worker

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._workers = [worker for worker in self._workers if worker.is_alive()]
            self._workers.append(self._begin(self._serve, client))

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as tpm, suppress(OSError):
            with self._lock:
                self._open |= {client, tpm}
            try:
                while not self._closing.is_set() and (command := receive(client)):
                    self._relay(client, tpm, command)
            finally:
                with self._lock:
                    self._open -= {client, tpm}

    def _relay(self, client: socket.socket, tpm: socket.socket, command: bytes) -> None:
        for work in self._due_hooks():
            work()
        if not _connected(tpm):
            tpm.connect(str(self._target))
        tpm.sendall(command)
        answer = receive(tpm)
        self.heard += command + answer
        if self.tamper is not None:
            answer = self.tamper(command, answer)
        with self._lock:
            playing = [one for one in self._orders if one.hits()]
        for one in playing:
            answer = self._spoil(one, answer)
        client.sendall(answer)
        if any(one.order.fault is Fault.SHORT_READ for one in playing):
            client.shutdown(socket.SHUT_RDWR)

    def _spoil(self, playing: _Playing, answer: bytes) -> bytes:
        match playing.order.fault:
            case Fault.SLOW:
                self._closing.wait(playing.order.seconds)
            case Fault.SHORT_READ:
                return answer[: len(answer) // 2]
            case Fault.CORRUPT:
                return playing.corrupted(answer)
            case Fault.WRONG_DESCRIPTOR:
                return STRANGER
        return answer

    def _due_hooks(self) -> list[Callable[[], None]]:
        with self._lock:
            due = [work for left, work in self._hooks if left == 0]
            self._hooks = [(left - 1, work) for left, work in self._hooks if left]
        return due


class _Playing:
    """An order in force: counts what passes unharmed, and draws what is hit from its seed."""

    def __init__(self, order: FaultOrder) -> None:
        self.order = order
        self._left = order.after
        self._random = random.Random(order.seed)  # noqa: S311 - the same order spoils the same bytes

    def hits(self) -> bool:
        """Whether the next message is hit; the rate of `CORRUPT` counts bytes."""
        if self._left:
            self._left -= 1
            return False
        return self.order.fault is Fault.CORRUPT or self._random.random() < self.order.rate

    def corrupted(self, answer: bytes) -> bytes:
        """Every byte is altered with the order's rate; the header's size field stays, so that the message ends."""
        spoiled = bytearray(answer)
        for at in range(len(spoiled)):
            if not 2 <= at < 6 and self._random.random() < self.order.rate:
                spoiled[at] ^= self._random.randrange(1, 256)
        return bytes(spoiled)


def _connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
