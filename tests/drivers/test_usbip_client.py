"""Our USB/IP client against a third party's server, and against servers that misbehave."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
import usbip
from usbip.device import USBDevice

from drivers.nb1010 import Nb1010Driver
from hal import Deadline, DeviceError, Disconnected, TimedOut
from simulators.devices.nb1010_model import FIELD, Nb1010Model


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

    started = time.monotonic()
    with scripted(serve) as options, pytest.raises(Disconnected):
        Nb1010Driver().open(options)
    assert time.monotonic() - started < 10
