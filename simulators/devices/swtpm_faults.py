"""What goes wrong with a TPM, played on an emulated one: on its wire, its power, or by another program that uses it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from hal import DeviceError
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.tpm_bus import WIRE_FAULTS, TpmBus
from simulators.devices.tpm_program import TpmProgram

TPM_FAULTS = WIRE_FAULTS | {
    Fault.UNPLUG,
    Fault.STALL,
    Fault.BUSY,
    Fault.PERMISSION_DENIED,
    Fault.LOCKOUT,
    Fault.RESET,
    Fault.NV_FULL,
}
COMMAND_SECONDS = 10.0


class Chip(Protocol):
    """The emulated TPM that faults are played on: its power, and the socket that leads to it."""

    @property
    def chip_socket(self) -> Path:
        """Where the emulator itself listens."""
        ...

    def lead_to(self, socket_file: Path | None) -> None:
        """Let the public socket path lead to `socket_file`, or nowhere."""
        ...

    def start(self) -> None:
        """Power on."""
        ...

    def kill(self) -> None:
        """Cut the power."""
        ...

    def suspend(self) -> None:
        """Stall."""
        ...

    def resume(self) -> None:
        """Go on."""
        ...


class TpmFaults:
    """Plays fault orders on one `Chip`. Thread safe."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._lock = threading.RLock()
        self._bus: TpmBus | None = None
        self._undo: list[Callable[[], None]] = []
        self._timers: list[threading.Timer] = []

    @property
    def bus(self) -> TpmBus:
        """The wire, through which every command goes from now on until `mend`."""
        with self._lock:
            if self._bus is None:
                self._bus = TpmBus(self._chip.chip_socket.with_name("bus"), self._chip.chip_socket)
                self._chip.lead_to(self._bus.path)
            return self._bus

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault: at once, or once `after` commands have passed."""
        with self._lock:
            if order.fault in WIRE_FAULTS:
                self.bus.play(order)
            elif order.after:
                self.bus.at(order, lambda: self._begin(order))
            else:
                self._begin(order)

    def mend(self) -> None:
        """End every fault, the latest first."""
        undo = self.close()
        self._chip.resume()
        self._chip.start()
        self._chip.lead_to(self._chip.chip_socket)
        for work in reversed(undo):
            with suppress(DeviceError, OSError):
                work()

    def close(self) -> list[Callable[[], None]]:
        """Hang up the wire and forget every fault; what would undo them."""
        with self._lock:
            timers, self._timers = self._timers, []
            bus, self._bus = self._bus, None
            undo, self._undo = self._undo, []
        for timer in timers:
            timer.cancel()
        if bus is not None:
            bus.close()
        return undo

    def _begin(self, order: FaultOrder) -> None:
        match order.fault:
            case Fault.UNPLUG:
                self._chip.lead_to(None)
                self._chip.kill()
                self._until(order, self._plug)
            case Fault.STALL:
                self._chip.suspend()
                self._until(order, self._chip.resume)
            case Fault.BUSY:
                holder = socket.socket(socket.AF_UNIX)
                holder.connect(str(self._chip.chip_socket))
                self._until(order, holder.close)
            case Fault.PERMISSION_DENIED:
                public = self._public
                public.chmod(0)
                self._until(order, lambda: public.chmod(0o600))
            case Fault.RESET:
                self._chip.kill()
                self._chip.start()
            case Fault.LOCKOUT:
                self._program.lock_out()
                self._until(order, self._program.end_lockout)
            case Fault.NV_FULL:
                filling = self._program.fill()
                self._until(order, lambda: self._empty(filling))

    @property
    def _program(self) -> TpmProgram:
        return TpmProgram(self._chip.chip_socket, COMMAND_SECONDS)

    def _empty(self, handles: list[int]) -> None:
        for handle in handles:
            self._program.remove(handle)

    def _plug(self) -> None:
        self._chip.start()
        self._chip.lead_to(self._public)

    @property
    def _public(self) -> Path:
        """The socket that the public path leads to."""
        return self._chip.chip_socket if self._bus is None else self._bus.path

    def _until(self, order: FaultOrder, undo: Callable[[], None]) -> None:
        """Undo at `mend`, or after the order's own time."""
        with self._lock:
            self._undo.append(undo)
            if order.seconds:
                timer = threading.Timer(order.seconds, self._expire, [undo])
                timer.daemon = True
                self._timers.append(timer)
                timer.start()

    def _expire(self, undo: Callable[[], None]) -> None:
        with self._lock:
            if undo not in self._undo:
                return
            self._undo.remove(undo)
        undo()
