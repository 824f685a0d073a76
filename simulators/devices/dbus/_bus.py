"""A `dbus-daemon` on a socket in a private folder, on which everybody may own and call everything."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from jeepney import DBusAddress, HeaderFields, Message, MessageType, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from hal import DeviceError, NotFound, TimedOut

START_SECONDS = 10.0
STOP_SECONDS = 5.0

_CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>keyvigil-simulation</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow send_requested_reply="false" send_type="method_return"/>
    <allow receive_requested_reply="false" receive_type="method_return"/>
  </policy>
</busconfig>
"""


class PrivateBus:
    """A running message bus; a context manager. Its policy is open, so that members can also try to cheat."""

    def __init__(self) -> None:
        """Raises `NotFound` when there is no dbus-daemon, `TimedOut` when it does not start."""
        self._folder = tempfile.TemporaryDirectory(prefix="bus-")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """Where the bus is, as D-Bus writes it."""
        return f"unix:path={self.folder / 'bus'}"

    @property
    def folder(self) -> Path:
        """A folder with a short path that lives as long as the bus."""
        return Path(self._folder.name)

    def connect(self) -> DBusConnection:
        """A new member of the bus."""
        return open_dbus_connection(self.address)

    def await_name(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Return once `process` owns `name`; raises `DeviceError` when it ends first, `TimedOut`."""
        ended = os.pidfd_open(process.pid)
        try:
            with self.connect() as watcher:
                rule = f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{name}'"
                ask_bus(watcher, "AddMatch", "s", (rule,))
                while not ask_bus(watcher, "NameHasOwner", "s", (name,)).body[0]:
                    readable, _, _ = select.select([watcher.sock, ended], [], [], START_SECONDS)
                    if not readable:
                        raise TimedOut(f"{name} did not come to the bus")
                    if ended in readable:
                        raise DeviceError(f"the process that should own {name} ended by {process.wait()}")
                    watcher.receive(timeout=START_SECONDS)
        finally:
            os.close(ended)

    def suspend(self) -> None:
        """Stall the bus: it stays connected and carries nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stalled bus go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End the bus; closing twice is allowed."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process)
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        program = shutil.which("dbus-daemon")
        if program is None:
            raise NotFound("dbus-daemon is not installed", remedy="Install it: apt-get install dbus.")
        configuration = self.folder / "bus.conf"
        configuration.write_text(_CONFIGURATION.format(socket=self.folder / "bus"), encoding="utf-8")
        announced, announcing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [program, f"--config-file={configuration}", "--nofork", f"--print-address={announcing}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(announcing,),
                start_new_session=True,
            )
            os.close(announcing)
            if not select.select([announced], [], [], START_SECONDS)[0] or not os.read(announced, 4096):
                raise TimedOut("dbus-daemon did not start")
        finally:
            os.close(announced)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End one process of ours, a suspended one too, and reap it."""
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ask_bus(connection: DBusConnection, member: str, signature: str, body: tuple[object, ...]) -> Message:
    """Call the bus itself; raises `DeviceError` when it refuses."""
    bus = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
    answer = connection.send_and_get_reply(new_method_call(bus, member, signature, body), timeout=START_SECONDS)
    if answer.header.message_type is MessageType.error:
        raise DeviceError(f"the bus refuses {member}: {answer.header.fields.get(HeaderFields.error_name)}")
    return answer
