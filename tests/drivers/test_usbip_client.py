"""Our USB/IP client against a third party's server, and against servers that misbehave."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
import usbip
from usb.core import USBTimeoutError
from usbip.device import USBDevice

from drivers.nb1010 import Nb1010Driver
from drivers.uru4000 import Uru4000Driver
from drivers.usbip_client import UsbipBackend
from hal import Deadline, DeviceError, Disconnected, TimedOut
from simulators.devices.nb1010_model import FIELD, Nb1010Model
from simulators.devices.usb import Setup, serve_usbip
from tests.on_time import on_time


class Firmware(usbip.Interface):
    """The reader's firmware behind the interface that the `usbip` package serves."""

    bInterfaceClass = 0  # noqa: N815
    events = usbip.In(0x81, "interrupt", mps=64, interval=5)
    commands = usbip.Out(0x02, "bulk", mps=64)
    replies = usbip.In(0x83, "bulk", mps=64)

    def __init__(self, model: Nb1010Model) -> None:
        super().__init__()
        self.model = model
        model._send = lambda _endpoint, message: self.replies.write(message)

    def on_out(self, ep: Any, data: bytes) -> None:
        self.model.received(0x02, bytes(data))


@pytest.fixture
def foreign() -> Iterator[tuple[Nb1010Model, dict[str, str]]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    model = Nb1010Model()
    device = USBDevice(0x298D, 0x1010, product="NB-1010-U (simulated)", serial="F1")
    device.add(Firmware(model))
    with device.plug(via=usbip.USBIP("127.0.0.1", port)):
        yield model, {"usbip": f"127.0.0.1:{port}"}


def test_a_third_partys_server(foreign: tuple[Nb1010Model, dict[str, str]]) -> None:
    model, options = foreign
    pixels = np.random.default_rng(2).integers(0, 256, (FIELD.height, FIELD.width), np.uint8)
    with Nb1010Driver().open(options) as reader:
        assert reader.info.serial == "F1"
        with pytest.raises(TimedOut):
            reader.capture(Deadline.after(0.05))
        model.place(pixels, FIELD.dpi)
        np.testing.assert_array_equal(reader.capture(Deadline.after(20)).pixels, pixels)


@contextmanager
def scripted(serve: Callable[[socket.socket], None]) -> Iterator[dict[str, str]]:
    """A server that does `serve` with every connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                with peer, suppress(OSError):
                    serve(peer)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield {"usbip": f"127.0.0.1:{listener.getsockname()[1]}"}
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


DEVLIST = struct.pack("!HHI", 0x0111, 0x0005, 0)
ENTRY = struct.pack("!256s32sIIIHHHBBBBBB", b"/sys/1-1", b"1-1", 1, 2, 2, 0x298D, 0x1010, 1, 0, 0, 0, 1, 1, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack("!HHI", 0x0100, 0x0005, 0) + bytes(4),
        struct.pack("!HHI", 0x0111, 0x0003, 0) + bytes(400),
        struct.pack("!HHI", 0x0111, 0x0005, 1),
        DEVLIST + b"\xff\xff\xff\xff",
        DEVLIST + struct.pack("!I", 2) + ENTRY,
    ],
)
def test_a_server_that_talks_nonsense_is_a_device_error(answer: bytes) -> None:
    def serve(peer: socket.socket) -> None:
        peer.recv(8)
        peer.sendall(answer)

    with scripted(serve) as options, pytest.raises(DeviceError):
        Nb1010Driver().open(options)


@pytest.mark.parametrize(
    "reply",
    [
        struct.pack("!IIIIIiI20x", 3, 99, 0, 0, 0, 0, 0),
        struct.pack("!IIIIIiI20x", 3, 1, 0, 0, 0, 0, 1 << 30),
        struct.pack("!IIIIIiI20x", 7, 1, 0, 0, 0, 0, 0),
        struct.pack("!IIIIIiI20x", 3, 1, 0, 0, 0, 0, 3) + b"abc",
        b"\0" * 20,
    ],
)
def test_a_device_reply_that_is_nonsense_is_a_device_error(reply: bytes) -> None:
    def serve(peer: socket.socket) -> None:
        request = peer.recv(40)
        if request[2:4] == b"\x80\x05":
            peer.sendall(DEVLIST + struct.pack("!I", 1) + ENTRY + bytes(4))
            return
        peer.sendall(struct.pack("!HHI", 0x0111, 0x0003, 0) + ENTRY)
        peer.recv(48)
        peer.sendall(reply)

    with scripted(serve) as options, pytest.raises(DeviceError):
        Nb1010Driver().open(options)


def test_a_server_that_falls_silent_is_a_loss_within_seconds() -> None:
    def serve(peer: socket.socket) -> None:
        while peer.recv(4096):
            pass

    with on_time(9), scripted(serve) as options, pytest.raises(Disconnected):
        Nb1010Driver().open(options)


def imported(peer: socket.socket) -> bool:
    """Answer a list or an import; whether it was an import."""
    request = peer.recv(40)
    if request[2:4] == b"\x80\x05":
        peer.sendall(DEVLIST + struct.pack("!I", 1) + ENTRY + bytes(4))
        return False
    peer.sendall(struct.pack("!HHI", 0x0111, 0x0003, 0) + ENTRY)
    return True


class Halting:
    """A server of `model` that behaves until it falls `quiet`."""

    def __init__(self, model: Nb1010Model) -> None:
        self.model = model
        self.quiet = threading.Event()

    def serve(self, peer: socket.socket) -> None:
        if not imported(peer):
            return
        while True:
            head = b""
            while len(head) < 48:
                chunk = peer.recv(48 - len(head))
                if not chunk:
                    return
                head += chunk
            if self.quiet.is_set():
                continue
            command, sequence, _device, direction, endpoint = struct.unpack_from("!IIIII", head)
            if command != 1:
                peer.sendall(struct.pack("!IIIIIi24x", 4, sequence, 0, 0, 0, -104))
                continue
            length = struct.unpack_from("!i", head, 24)[0]
            sent = peer.recv(length, socket.MSG_WAITALL) if direction == 0 and length else b""
            data = b""
            if endpoint == 0:
                data = self.model.control(Setup(*struct.unpack_from("<BBHHH", head, 40)), sent)
            actual = len(sent) or len(data)
            peer.sendall(struct.pack("!IIIIIiI20x", 3, sequence, 0, 0, 0, 0, actual) + data)


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_a_server_that_falls_silent_in_a_session_does_not_outlast_the_deadline(seconds: float) -> None:
    server = Halting(Nb1010Model("Q1"))
    with scripted(server.serve) as options:
        reader = Nb1010Driver().open(options)
        server.quiet.set()
        with on_time(seconds), pytest.raises(TimedOut):
            reader.capture(Deadline.after(seconds))
        with on_time(0.3):  # a silent server is not waited for
            reader.close()


def test_a_server_that_never_answers_a_withdrawal_is_lost() -> None:
    server = Halting(Nb1010Model("Q1"))
    with scripted(server.serve) as options, Nb1010Driver().open(options) as reader:
        server.quiet.set()
        with pytest.raises(TimedOut):
            reader.capture(Deadline.after(0.2))
        with pytest.raises(Disconnected):
            for _ in range(20):
                with suppress(TimedOut):
                    reader.capture(Deadline.after(1.0))


@pytest.mark.parametrize("driver", [Nb1010Driver, Uru4000Driver])
def test_opening_ends_by_its_deadline(driver: Any) -> None:
    def serve(peer: socket.socket) -> None:
        while peer.recv(4096):
            pass

    with scripted(serve) as options, on_time(0.3), pytest.raises(TimedOut):
        driver().open(options, Deadline.after(0.3))


def test_a_server_that_floods_does_not_keep_us_from_leaving() -> None:
    def serve(peer: socket.socket) -> None:
        while True:
            peer.sendall(DEVLIST + bytes(4) + bytes(65536))

    with on_time(5), scripted(serve) as options, suppress(DeviceError):
        Nb1010Driver().open(options)


def test_what_arrives_while_a_read_is_withdrawn_is_the_next_reads() -> None:
    """The message crosses the withdrawal on the wire: it must not be lost, nor overtake what follows it."""
    model = Nb1010Model()
    with serve_usbip([model]) as server:
        backend = UsbipBackend("127.0.0.1", server.port, frozenset({(0x298D, 0x1010)}))
        (remote,) = backend.enumerate_devices()
        session = backend.open_device(remote)
        with pytest.raises(USBTimeoutError):
            session.submit(1, 0x83, b"", 16, 30)
        late = struct.pack("!IIIIIiI20x", 3, 77, 0, 0, 0, 0, 4) + b"late"
        session._rooms[77], session._withdrawn[77] = 16, 0x83
        session._stream._inbox += late
        model._send(0x83, b"first")
        model._send(0x83, b"second")
        assert [session.submit(1, 0x83, b"", 16, 1000) for _ in range(3)] == [b"late", b"first", b"second"]
        backend.close_device(session)
