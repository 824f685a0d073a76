"""The USB/IP server: transfers that wait, are withdrawn or cut off; garbage; a third party's client."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import usbip
import usbip_backend

from drivers.nb1010 import Nb1010Driver
from drivers.uru4000 import Uru4000Driver
from hal import Busy, Deadline, Transport
from simulators.devices.nb1010_model import Nb1010Model
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import UsbipServer, UsbModel, serve_usbip

IMPORT = struct.pack("!HHI", 0x0111, 0x8003, 0)
DEVLIST = struct.pack("!HHI", 0x0111, 0x8005, 0)


@pytest.fixture
def models() -> list[UsbModel]:
    return [Uru4000Model("U1"), Nb1010Model("N1")]


@pytest.fixture
def server(models: list[UsbModel]) -> Iterator[UsbipServer]:
    with serve_usbip(models) as running:
        yield running


class Client:
    """A USB/IP client that sends exactly what it is told."""

    def __init__(self, server: UsbipServer) -> None:
        self.socket = socket.create_connection((server.host, server.port), timeout=10)

    def attach(self, bus_id: bytes) -> int:
        self.socket.sendall(IMPORT + bus_id.ljust(32, b"\0"))
        status = int.from_bytes(self.receive(8)[4:], "big")
        if status == 0:
            self.receive(312)
        return status

    def submit(self, sequence: int, endpoint: int, length: int = 64, setup: bytes = bytes(8)) -> None:
        head = struct.pack("!IIIII", 1, sequence, 0x10002, 1, endpoint)
        self.socket.sendall(head + struct.pack("!IiIII", 0, length, 0, 0, 0) + setup)

    def unlink(self, sequence: int, victim: int) -> None:
        self.socket.sendall(struct.pack("!IIIIII24x", 2, sequence, 0x10002, 0, 0, victim))

    def reply(self) -> tuple[int, int, int, bytes]:
        head = self.receive(48)
        command, sequence = struct.unpack_from("!II", head)
        status, actual = struct.unpack_from("!iI", head, 20)
        return command, sequence, status, self.receive(actual) if command == 3 else b""

    def receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = self.socket.recv(count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def closed(self) -> bool:
        with suppress(ConnectionResetError):
            while self.socket.recv(4096):
                pass
        return True


def test_the_device_list(server: UsbipServer) -> None:
    client = Client(server)
    client.socket.sendall(DEVLIST)
    assert client.receive(12) == struct.pack("!HHII", 0x0111, 0x0005, 0, 2)
    first = client.receive(316)
    assert first[256:259] == b"1-1"
    assert struct.unpack_from("!HH", first, 300) == (0x05BA, 0x000A)
    assert first[312:315] == b"\xff\xff\xff"
    assert client.receive(316)[256:259] == b"1-2"


def test_an_unplugged_device_is_not_listed(server: UsbipServer, models: list[UsbModel]) -> None:
    models[0].unplug()
    client = Client(server)
    client.socket.sendall(DEVLIST)
    assert client.receive(12)[-1] == 1
    assert Client(server).attach(b"1-1") != 0


def test_a_read_that_waits_is_withdrawn(server: UsbipServer) -> None:
    client = Client(server)
    assert client.attach(b"1-1") == 0
    client.submit(1, 1)
    client.unlink(2, victim=1)
    assert client.reply() == (4, 2, -errno.ECONNRESET, b"")
    client.submit(3, 0, 1, setup=struct.pack("<BBHHH", 0xC0, 4, 0x07, 0, 1))
    assert client.reply()[:3] == (3, 3, 0)


def test_withdrawing_what_has_ended_says_so(server: UsbipServer) -> None:
    client = Client(server)
    client.attach(b"1-1")
    client.submit(1, 0, 18, setup=struct.pack("<BBHHH", 0x80, 6, 0x0100, 0, 18))
    assert client.reply()[3][:2] == b"\x12\x01"
    client.unlink(2, victim=1)
    assert client.reply() == (4, 2, 0, b"")


def test_a_control_transfer_passes_a_waiting_interrupt_read(server: UsbipServer) -> None:
    client = Client(server)
    client.attach(b"1-1")
    client.submit(1, 1)
    client.submit(2, 0, 1, setup=struct.pack("<BBHHH", 0xC0, 4, 0x07, 0, 1))
    assert client.reply()[:3] == (3, 2, 0)


def test_pulling_the_plug_fails_what_waits_and_hangs_up(server: UsbipServer, models: list[UsbModel]) -> None:
    client = Client(server)
    client.attach(b"1-1")
    client.submit(1, 1)
    client.submit(2, 0, 1, setup=struct.pack("<BBHHH", 0xC0, 4, 0x07, 0, 1))
    client.reply()
    models[0].unplug()
    assert client.reply() == (3, 1, -errno.ENODEV, b"")
    assert client.closed()


def test_a_refused_request_is_a_stall(server: UsbipServer) -> None:
    client = Client(server)
    client.attach(b"1-1")
    client.submit(1, 0, 1, setup=struct.pack("<BBHHH", 0xC0, 4, 0x99, 0, 1))
    assert client.reply() == (3, 1, -errno.EPIPE, b"")
    client.submit(2, 9)
    assert client.reply() == (3, 2, -errno.EPIPE, b"")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" * 64,
        struct.pack("!HHI", 0x0100, 0x8005, 0),
        struct.pack("!HHI", 0x0111, 0x8001, 0),
    ],
)
def test_garbage_for_a_handshake_closes_that_connection_alone(server: UsbipServer, garbage: bytes) -> None:
    client = Client(server)
    client.socket.sendall(garbage)
    assert client.closed()
    assert Client(server).attach(b"1-1") == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 48,
        struct.pack("!IIIII", 9, 1, 0, 1, 0) + bytes(28),
        struct.pack("!IIIIIIiIII8x", 1, 1, 0, 1, 1, 0, -1, 0, 0, 0),
        struct.pack("!IIIIIIiIII8x", 1, 1, 0, 1, 1, 0, 1 << 30, 0, 0, 0),
        struct.pack("!IIIIIIiIII8x", 1, 1, 0, 0, 2, 0, 1 << 30, 0, 0, 0),
        struct.pack("!IIIIIIiIII8x", 1, 1, 0, 1, 77, 0, 8, 0, 0, 0),
        struct.pack("!IIIIIIiIII8x", 1, 1, 0, 1, 1, 0, 8, 0, 5, 0),
        2 * struct.pack("!IIIIIIiIII8x", 1, 1, 0, 1, 1, 0, 8, 0, 0, 0),
    ],
)
def test_garbage_in_a_session_closes_it_and_frees_the_device(server: UsbipServer, garbage: bytes) -> None:
    client = Client(server)
    client.attach(b"1-1")
    client.socket.sendall(garbage)
    assert client.closed()
    assert Client(server).attach(b"1-1") == 0


def test_an_unknown_device_is_refused(server: UsbipServer) -> None:
    assert Client(server).attach(b"9-9") == 4
    assert Client(server).attach(b"\xff" * 32) == 4


def test_a_second_client_is_told_the_device_is_taken(server: UsbipServer) -> None:
    first = Client(server)
    assert first.attach(b"1-1") == 0
    assert Client(server).attach(b"1-1") == 2
    assert Client(server).attach(b"1-2") == 0
    first.socket.close()


def test_after_a_clients_death_the_device_is_free(server: UsbipServer) -> None:
    client = Client(server)
    client.attach(b"1-1")
    client.submit(1, 1)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()
    driver, options = Uru4000Driver(), {"usbip": f"127.0.0.1:{server.port}"}
    deadline = Deadline.after(10)
    while True:
        try:
            driver.open(options).close()
            return
        except Busy:
            deadline.check("freeing the device")


def test_it_listens_on_loopback_alone_and_says_where(server: UsbipServer) -> None:
    assert server.host == "127.0.0.1"
    assert server._listener.getsockname() == ("127.0.0.1", server.port)


def test_closed_it_hangs_up_and_stops_listening(models: list[UsbModel]) -> None:
    server = serve_usbip(models)
    client = Client(server)
    client.attach(b"1-1")
    client.submit(1, 1)
    server.close()
    server.close()
    assert client.closed()
    with pytest.raises(ConnectionRefusedError):
        Client(server)
    with serve_usbip(models, port=server.port) as again:
        assert Client(again).attach(b"1-1") == 0


def test_a_third_partys_pyusb_backend_drives_both_readers(server: UsbipServer, models: list[UsbModel]) -> None:
    """The published client knows neither our server nor our client: an independent reading of the protocol."""
    for model, driver in zip(models, (Uru4000Driver, Nb1010Driver), strict=True):
        pixels = np.full((model.field.height, model.field.width), 255, np.uint8)
        pixels[20:-20, 20:-20] = np.random.default_rng(4).integers(0, 256, pixels[20:-20, 20:-20].shape, np.uint8)
        backend: Any = usbip_backend.get_backend("127.0.0.1", server.port)
        with driver(backend=backend).open({}) as reader:
            assert reader.info.transport is Transport.USB
            model.place(pixels, model.field.dpi)
            # That client hangs up when a read times out, which emptying the interrupt endpoint relies on.
            reader._link.drain = lambda *_args: None
            np.testing.assert_array_equal(reader.capture(Deadline.after(30)).pixels, pixels)


def test_a_third_partys_host_library_reads_the_descriptors(server: UsbipServer, models: list[UsbModel]) -> None:
    with usbip.open(0x298D, 0x1010, transport=usbip.USBIP("127.0.0.1", server.port)) as handle:
        assert handle.device_descriptor.idProduct == 0x1010
        handle.bulk_out(0x02, bytes.fromhex("8038010008000000"))
        assert handle.bulk_in(0x83, 16)[:3] == bytes.fromhex("803701")
