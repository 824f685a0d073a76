"""The wire between a TPM and whoever uses it: keeps what crosses it, and spoils it on demand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from simulators.devices.fault_orders import OrderInForce, OrdersInForce
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
        self._orders = OrdersInForce()
        self._hooks: list[tuple[OrderInForce, Callable[[], None]]] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._workers = [self._begin(self._accept)]

    def play(self, order: FaultOrder) -> None:
        """Begin a fault of `WIRE_FAULTS`, which lasts as long as it was ordered to."""
        self._orders.add(order)

    def at(self, order: FaultOrder, work: Callable[[], None]) -> None:
        """Run `work` once, before the first command that `order` hits."""
        with self._lock:
            self._hooks.append((OrderInForce(order), work))

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
        struck = self._orders.struck()
        for one in struck:
            answer = self._spoil(one, answer)
        client.sendall(answer)
        if any(one.order.fault is Fault.SHORT_READ for one in struck):
            client.shutdown(socket.SHUT_RDWR)

    def _spoil(self, one: OrderInForce, answer: bytes) -> bytes:
        match one.order.fault:
            case Fault.SLOW:
                self._closing.wait(one.order.seconds)
            case Fault.SHORT_READ:
                return answer[: len(answer) // 2]
            case Fault.CORRUPT:
                # The header's size field stays, so that the message ends.
                return one.spoiled(answer[:2]) + answer[2:6] + one.spoiled(answer[6:])
            case Fault.WRONG_DESCRIPTOR:
                return STRANGER
        return answer

    def _due_hooks(self) -> list[Callable[[], None]]:
        with self._lock:
            due = [hook for hook in self._hooks if hook[0].hits()]
            self._hooks = [hook for hook in self._hooks if hook not in due]
        return [work for _order, work in due]


def _connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
