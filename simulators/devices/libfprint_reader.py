"""The real fprintd on a private bus: the shipped daemon, with a reader that exists in software or in a recording only.

libfprint's packages have drivers for readers that exist in software only; each listens on a socket for commands such as
"SCAN name", which lays the finger of that name on the reader. Source: libfprint's tests and their README.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from jeepney import DBusAddress, MessageType, new_method_call
from jeepney.io.blocking import DBusConnection

from hal import DeviceError, NotFound
from simulators.devices.dbus import PrivateBus
from simulators.devices.dbus._bus import end_process
from simulators.devices.faults import Fault, FaultOrder, require_playable
from simulators.devices.polkit_service import PolkitAuthority

SERVICE = "net.reactivated.Fprint"
_PROGRAM = Path("/usr/libexec/fprintd")
_DEVICE = DBusAddress("/net/reactivated/Fprint/Device/0", SERVICE, "net.reactivated.Fprint.Device")
_ACTIONS = frozenset(f"net.reactivated.fprint.device.{name}" for name in ("verify", "enroll", "setusername"))
_COMMAND_SECONDS = 5.0


class FprintdDaemon:
    """A running fprintd, and the polkit that decides who may do what; a context manager."""

    def __init__(self, bus: PrivateBus) -> None:
        """Start it; raises `NotFound` when a program is not installed, `DeviceError` when it does not start."""
        self._bus = bus
        self._process: subprocess.Popen[bytes] | None = None
        self.polkit = PolkitAuthority(bus)
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the daemon, and return when it is on the bus."""
        if self._process is not None:
            return
        if not _PROGRAM.exists():
            raise NotFound("fprintd is not installed", remedy="Install it: apt-get install fprintd.")
        state = self._bus.folder / "fprintd"
        state.mkdir(mode=0o700, exist_ok=True)
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "DBUS_SYSTEM_BUS_ADDRESS": self._bus.address,
            "STATE_DIRECTORY": str(state),
        }
        self._process = subprocess.Popen(
            self._command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment | self._environment(),
            start_new_session=True,
        )
        self._bus.await_name(SERVICE, self._process)

    def close(self) -> None:
        """End the daemon; closing twice is allowed."""
        self._reap()
        self.polkit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _command(self) -> list[str]:
        return [str(_PROGRAM), "--no-timeout"]

    def _environment(self) -> dict[str, str]:
        """What tells libfprint which reader there is."""
        return {}

    def _reap(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            end_process(process)


class VirtualFprintd(FprintdDaemon):
    """An fprintd that has one virtual reader. With `storage` the reader keeps templates itself and can identify.

    Faults: `UNPLUG` of the reader, `STALL` and `SERVER_DEATH` of the daemon, `BUSY` by another client that claims the
    reader, `PERMISSION_DENIED` by polkit, `SLOW` by a polkit that takes `seconds`.
    """

    faults: ClassVar[frozenset[Fault]] = frozenset(
        {Fault.UNPLUG, Fault.STALL, Fault.SERVER_DEATH, Fault.BUSY, Fault.PERMISSION_DENIED, Fault.SLOW}
    )

    def __init__(self, bus: PrivateBus, *, storage: bool = False) -> None:
        self._storage = storage
        self._rival: DBusConnection | None = None
        super().__init__(bus)

    def start(self) -> None:
        """Start the daemon, and return when it is on the bus."""
        if self._process is None:
            self._listener.unlink(missing_ok=True)
        super().start()

    def scan(self, finger: str) -> None:
        """Lay the finger of this name on the reader; one that comes before it is asked for is kept until then."""
        self.command(f"SCAN {finger}")

    def command(self, text: str) -> str:
        """Give the virtual reader a command, and its answer."""
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(_COMMAND_SECONDS)
            wire.connect(str(self._listener))
            wire.sendall(text.encode())
            wire.shutdown(socket.SHUT_WR)
            return wire.recv(4096).decode(errors="replace")

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault; see `Faulty`. What happens to a process has no messages to count: `after` is refused there."""
        require_playable(self, order)
        if order.after or order.rate != 1:
            raise ValueError("a fault of a whole process has neither `after` nor `rate`")
        match order.fault:
            case Fault.UNPLUG:
                self.command("UNPLUG")
            case Fault.BUSY:
                self._rival = self._claim()
            case Fault.PERMISSION_DENIED:
                self.polkit.refused = _ACTIONS
            case Fault.SLOW:
                self.polkit.inject(order)
            case Fault.STALL:
                self._signal(signal.SIGSTOP)
            case _:
                self._signal(signal.SIGKILL)
                self._reap()

    def mend(self) -> None:
        """End every fault; the daemon is started afresh, which also brings an unplugged reader back."""
        self.polkit.refused = frozenset()
        self.polkit.mend()
        self._part_rival()
        self._reap()
        self.start()

    def close(self) -> None:
        """End the daemon and the rival; closing twice is allowed."""
        self._part_rival()
        super().close()

    @property
    def _listener(self) -> Path:
        return self._bus.folder / "reader"

    def _environment(self) -> dict[str, str]:
        return {"FP_VIRTUAL_DEVICE_STORAGE" if self._storage else "FP_VIRTUAL_DEVICE": str(self._listener)}

    def _claim(self) -> DBusConnection:
        """Another program that holds the reader."""
        rival = self._bus.connect()
        answer = rival.send_and_get_reply(new_method_call(_DEVICE, "Claim", "s", ("",)), timeout=_COMMAND_SECONDS)
        if answer.header.message_type is MessageType.error:
            rival.close()
            raise DeviceError(f"the rival did not get the reader: {answer.body}")
        return rival

    def _part_rival(self) -> None:
        rival, self._rival = self._rival, None
        if rival is not None:
            rival.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


class ReplayedFprintd(FprintdDaemon):
    """An fprintd whose reader is the recording of a real one, replayed by umockdev to libfprint's own driver of it.

    `trace` is a folder with "device" (umockdev-record) and "capture.ioctl"; the finger of the recording lies on the
    reader whenever it is asked for.
    """

    def __init__(self, bus: PrivateBus, trace: Path) -> None:
        """Raises `NotFound` when umockdev or the recording is missing."""
        self._trace = trace
        super().__init__(bus)

    @property
    def sysfs(self) -> Path:
        """The sysfs in which the recorded reader is attached."""
        return Path(self._announcement.read_text(encoding="utf-8").strip()) / "sys"

    @property
    def _announcement(self) -> Path:
        return self._bus.folder / "testbed"

    def _command(self) -> list[str]:
        runner, device = shutil.which("umockdev-run"), self._trace / "device"
        if runner is None or not device.is_file():
            raise NotFound("umockdev or the recording is missing", remedy="Install it: apt-get install umockdev.")
        node = next(line for line in device.read_text(encoding="utf-8").splitlines() if line.startswith("N: "))
        name = node.removeprefix("N: ").partition("=")[0]
        inside = f'echo "$UMOCKDEV_DIR" >"{self._announcement}"; exec {_PROGRAM} --no-timeout'
        replay = ["--device", str(device), "--ioctl", f"/dev/{name}={self._trace / 'capture.ioctl'}"]
        return [runner, *replay, "--", "sh", "-c", inside]

    def _environment(self) -> dict[str, str]:
        return {"FP_DEVICE_EMULATION": "1"}
