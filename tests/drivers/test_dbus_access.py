"""The connection to a service of the bus: deadlines, hostile bytes, and who may answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jeepney import DBusAddress, HeaderFields, Message, new_method_call, new_method_return, new_signal

from drivers.dbus_access import NOTHING, SYSTEM_BUS, ServiceError, ServiceLink, bus_option
from hal import Deadline, DeviceError, Disconnected, NotFound, PermissionDenied, ProtocolError, TimedOut
from simulators.devices.dbus import BusService, Call, PrivateBus, Refusal, Reply
from simulators.devices.faults import Fault, FaultOrder
from tests.drivers.system_bus import needs_bus, refused, soon

NAME, PATH, INTERFACE = "example.Service", "/example", "example.Interface"


class Echo(BusService):
    """Answers Say by what it was given, and Fail by an error."""

    def __init__(self, bus: PrivateBus) -> None:
        super().__init__(bus, NAME)

    def answer(self, call: Call) -> Reply:
        if call.member == "Say":
            return Reply("s", call.body)
        raise Refusal("example.Error.Failed", "x" * 5000)


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as bus:
        yield bus


@pytest.fixture
def echo(bus: PrivateBus) -> Iterator[Echo]:
    with Echo(bus) as echo:
        yield echo


def linked(bus: PrivateBus, deadline: Deadline | None = None) -> ServiceLink:
    return ServiceLink(bus.address, NAME, deadline or soon(), missing="Install it.")


def say(link: ServiceLink, deadline: Deadline, returns: str = "s") -> tuple[object, ...]:
    return link.call(PATH, INTERFACE, "Say", ("s", ("hello",)), returns, deadline)


@needs_bus
def test_a_call_is_answered(bus: PrivateBus, echo: Echo) -> None:
    link = linked(bus)
    assert say(link, soon()) == ("hello",)
    link.close()
    link.close()
    refused(Disconnected, lambda deadline: say(link, deadline))


@needs_bus
def test_an_error_is_short_and_carries_its_name(bus: PrivateBus, echo: Echo) -> None:
    link = linked(bus)
    with pytest.raises(ServiceError) as caught:
        link.call(PATH, INTERFACE, "Fail", NOTHING, "", soon())
    assert caught.value.name == "example.Error.Failed"
    assert len(str(caught.value)) == 200
    link.close()


@needs_bus
def test_an_answer_of_another_shape_is_refused(bus: PrivateBus, echo: Echo) -> None:
    link = linked(bus)
    refused(ProtocolError, lambda deadline: say(link, deadline, "u"))
    assert say(link, soon()) == ("hello",)
    link.close()


@needs_bus
def test_values_that_cannot_be_sent_are_refused(bus: PrivateBus, echo: Echo) -> None:
    link = linked(bus)
    refused(DeviceError, lambda deadline: link.call(PATH, INTERFACE, "Say", ("s", (7,)), "s", deadline))
    link.close()


@needs_bus
def test_a_bus_that_stalls_is_left_in_time(bus: PrivateBus, echo: Echo) -> None:
    link = linked(bus)
    bus.suspend()
    refused(TimedOut, lambda deadline: say(link, deadline), 0.5)
    refused(TimedOut, lambda deadline: linked(bus, deadline), 0.5)
    bus.resume()
    assert say(link, soon()) == ("hello",)
    link.close()


@needs_bus
def test_a_service_that_stalls_is_left_in_time(bus: PrivateBus, echo: Echo) -> None:
    link = linked(bus)
    echo.inject(FaultOrder(Fault.STALL))
    refused(TimedOut, lambda deadline: say(link, deadline), 0.5)
    echo.mend()
    assert say(link, soon()) == ("hello",)
    link.close()


@needs_bus
def test_a_service_that_leaves_ends_the_link(bus: PrivateBus, echo: Echo) -> None:
    link = linked(bus)
    echo.inject(FaultOrder(Fault.SERVER_DEATH))
    refused(Disconnected, lambda deadline: link.next_signal("waiting", deadline))
    echo.mend()
    refused(Disconnected, lambda deadline: say(link, deadline))
    link.close()


@needs_bus
def test_a_bus_that_ends_is_told(bus: PrivateBus, echo: Echo) -> None:
    link = linked(bus)
    bus.close()
    assert "dbus" in refused(Disconnected, lambda deadline: say(link, deadline)).remedy
    link.close()


@needs_bus
def test_a_forged_answer_is_no_answer(bus: PrivateBus, echo: Echo) -> None:
    """Another member answers our call before the service does: the bus delivers it, and it is dropped."""
    echo.inject(FaultOrder(Fault.STALL))
    link = linked(bus)
    serial = link.send(PATH, INTERFACE, "Say", ("s", ("hello",)), soon())
    (ours,) = (name for name in _names(bus) if name not in {link.owner})
    with bus.connect() as mallory:
        forged = new_method_return(_call_of(ours, serial), "s", ("forged",))
        mallory.send(forged)
        mallory.bus_proxy.GetId()
    with pytest.raises(TimedOut):
        link.reply(serial, "Say", "s", Deadline.after(0.2))
    link.close()


@needs_bus
def test_forged_signals_without_end_do_not_outlast_the_deadline(bus: PrivateBus, echo: Echo) -> None:
    link = linked(bus)
    link.subscribe(PATH, INTERFACE, soon())
    (ours,) = (name for name in _names(bus) if name not in {link.owner})
    stop = threading.Event()

    def flood() -> None:
        with bus.connect() as mallory:
            signal = new_signal(DBusAddress(PATH, interface=INTERFACE), "Status", "s", ("forged",))
            signal.header.fields[HeaderFields.destination] = ours
            while not stop.is_set():
                mallory.send(signal)
                mallory.bus_proxy.GetId()

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        refused(TimedOut, lambda deadline: link.next_signal("waiting", deadline), 0.5)
    finally:
        stop.set()
        flooding.join()
    echo.emit(PATH, INTERFACE, "Status", Reply("s", ("genuine",)))
    assert link.next_signal("waiting", soon()).values("s") == ("genuine",)
    link.close()


@needs_bus
def test_answers_that_nobody_asked_for_are_not_kept(bus: PrivateBus, echo: Echo) -> None:
    link = linked(bus)
    (ours,) = (name for name in _names(bus) if name not in {link.owner})
    for serial in range(1000, 1200):
        echo._send(new_method_return(_call_of(ours, serial), "s", ("unasked",)))
    assert say(link, soon()) == ("hello",)
    assert link._replies == {}
    link.close()


@needs_bus
def test_a_service_that_floods_is_refused(bus: PrivateBus, echo: Echo) -> None:
    link = linked(bus)
    link.subscribe(PATH, INTERFACE, soon())
    for _ in range(300):
        echo.emit(PATH, INTERFACE, "Status", Reply("s", ("again",)))
    refused(ProtocolError, lambda deadline: say(link, deadline))
    link.close()


def _names(bus: PrivateBus) -> list[str]:
    with bus.connect() as watcher:
        (names,) = watcher.bus_proxy.ListNames()
        return [name for name in names if name.startswith(":") and name != watcher.unique_name]


def _call_of(sender: str, serial: int) -> Message:
    call = new_method_call(DBusAddress(PATH, NAME, INTERFACE), "Say", "s", ("hello",))
    call.header.serial = serial
    call.header.fields[HeaderFields.sender] = sender
    return call


@needs_bus
def test_nobody_who_owns_the_name_is_not_found(bus: PrivateBus) -> None:
    assert refused(NotFound, lambda deadline: linked(bus, deadline)).remedy == "Install it."


def test_no_bus_at_all_is_not_found(tmp_path: Path) -> None:
    def work(deadline: Deadline) -> ServiceLink:
        return ServiceLink(f"unix:path={tmp_path}/none", NAME, deadline, missing="")

    assert "apt-get" in refused(NotFound, work).remedy


def test_the_environment_does_not_choose_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/tmp/of-mallory")
    assert bus_option({}) == SYSTEM_BUS


@contextmanager
def hostile_bus(folder: Path, answers: list[bytes]) -> Iterator[str]:
    """A socket that gives these answers, one to each thing that it is sent, and then closes."""
    path = folder / "bus"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                for answer in answers:
                    if not connection.recv(4096):
                        return
                    connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"unix:path={path}"
        thread.join()


OK = b"OK 0123456789abcdef\r\n"


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([b"REJECTED EXTERNAL\r\n"], PermissionDenied),
        ([b"nonsense\r\n"], PermissionDenied),
        ([b""], Disconnected),
        ([OK], Disconnected),
        ([OK, bytes(64)], ProtocolError),
        ([OK, b"l\1\0\1" + b"\xff" * 60], ProtocolError),
        ([OK, b"l\2\0\1" + bytes(4) + b"\1\0\0\0" + b"\x08\0\0\0" + b"\5\1v\0" + b"\xff" * 40], ProtocolError),
    ],
)
def test_a_hostile_bus_is_an_error_of_the_tree(tmp_path: Path, answers: list[bytes], kind: type[DeviceError]) -> None:
    with hostile_bus(tmp_path, answers) as address:
        refused(kind, lambda deadline: ServiceLink(address, NAME, deadline, missing=""))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.binary(max_size=60))
def test_no_bytes_of_a_bus_are_a_builtin_exception(tmp_path: Path, greeting: bytes, message: bytes) -> None:
    with hostile_bus(tmp_path, [OK, b"l\2\0\1" + message + greeting]) as address, pytest.raises(DeviceError):
        ServiceLink(address, NAME, Deadline.after(1.0), missing="")


def test_a_message_without_end_is_given_up(tmp_path: Path) -> None:
    endless = b"l\2\0\1" + b"\xff\xff\xff\x07" + b"\1\0\0\0" + bytes(4) + bytes(2 << 20)
    with hostile_bus(tmp_path, [OK, endless]) as address:
        refused(ProtocolError, lambda deadline: ServiceLink(address, NAME, deadline, missing=""))
