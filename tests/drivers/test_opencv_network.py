"""Network cameras: what the driver makes of stalls, cuts and garbage on the wire."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import ExitStack

import cv2
import pytest

from drivers.opencv_camera import OpenCvCamera, OpenCvCameraDriver
from hal import (
    Deadline,
    DeviceError,
    Disconnected,
    NotFound,
    PermissionDenied,
    ProtocolError,
    TimedOut,
    Transport,
    Unsupported,
)
from simulators.devices.camera_stream import CameraStream
from tests.drivers.test_opencv_camera import driver, first, grabbers, level, never, picture, soon, stream
from tests.on_time import on_time

__all__ = ["driver", "stream"]

MJPEG = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"


class WebServer:
    """Answers every connection with the same bytes, then keeps it or ends it."""

    def __init__(self, answer: bytes, keep: bool = False) -> None:
        self._answer, self._keep = answer, keep
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                self._held.append(connection)
                self.requests.append(connection.recv(4096))
                connection.sendall(self._answer)
                if not self._keep:
                    connection.close()
        except OSError:
            return

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._held:
            connection.close()
        self._thread.join()


def test_network_camera_is_virtual(driver: OpenCvCameraDriver, stream: CameraStream) -> None:
    with driver.open({"source": stream.url}) as camera:
        assert camera.info.transport is Transport.VIRTUAL


def test_first_picture_within_a_second_and_a_change_within_400_ms(
    driver: OpenCvCameraDriver, stream: CameraStream
) -> None:
    with ExitStack() as stack:
        with on_time(0.8):
            camera = stack.enter_context(driver.open({"source": stream.url}))
            camera.read(soon())
        with on_time(0.27):
            stream.show(lambda _: picture(200))
            first(camera, lambda frame: abs(level(frame.bgr) - 200) < 8)


def test_stall_times_out_on_time_and_resumes(driver: OpenCvCameraDriver, stream: CameraStream) -> None:
    with driver.open({"source": stream.url}) as camera:
        stream.stall()
        drained(camera)
        with on_time(0.5, least=0.5), pytest.raises(TimedOut):
            camera.read(Deadline.after(0.5))
        stream.resume()
        assert camera.read(soon()).bgr.any()


def drained(camera: OpenCvCamera) -> None:
    """Take what was under way when the stream stalled."""
    with pytest.raises(TimedOut):
        while True:
            camera.read(Deadline.after(0.1))


def test_stalled_camera_closes_at_once(driver: OpenCvCameraDriver, stream: CameraStream) -> None:
    camera = driver.open({"source": stream.url})
    stream.stall()
    drained(camera)
    with on_time(0.1):
        camera.close()
    assert grabbers() == 0


def test_drop_is_told_and_the_camera_opens_again(driver: OpenCvCameraDriver, stream: CameraStream) -> None:
    with driver.open({"source": stream.url}) as camera:
        stream.drop()
        with pytest.raises(Disconnected):
            first(camera, never)
    with pytest.raises(DeviceError):
        driver.open({"source": stream.url})
    stream.resume()
    with driver.open({"source": stream.url}) as camera:
        camera.read(soon())


def test_nobody_at_the_address(driver: OpenCvCameraDriver, stream: CameraStream) -> None:
    stream.close()
    with pytest.raises(NotFound) as caught:
        driver.open({"source": stream.url})
    assert "address" in caught.value.remedy
    assert driver.list({"source": stream.url}) == driver.list({})


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (os.urandom(20_000).replace(b"HTTP", b"http"), ProtocolError),
        (b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 5000, ProtocolError),
        (b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n--b", ProtocolError),
        (MJPEG + b"#EXTM3U\n/etc/hostname\n", ProtocolError),
        (MJPEG + b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: 9999\r\n\r\n" + bytes(9999), DeviceError),
        (b"HTTP/1.0 401 Unauthorized\r\n\r\n", PermissionDenied),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", NotFound),
        (b"HTTP/1.0 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", ProtocolError),
        (b"", Disconnected),
    ],
    ids=["noise", "endless-head", "html", "playlist", "no-jpeg", "401", "404", "redirect", "nothing"],
)
def test_garbage_on_the_port_is_a_clear_refusal(
    driver: OpenCvCameraDriver, answer: bytes, error: type[DeviceError], capfd: pytest.CaptureFixture[str]
) -> None:
    with WebServer(answer) as server, pytest.raises(error):
        driver.open({"source": server.url})
    assert grabbers() == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 200 OK\r\n", MJPEG, MJPEG + b"--b\r\n"])
def test_silent_server_times_out(answer: bytes) -> None:
    with WebServer(answer, keep=True) as server, on_time(0.4, least=0.3), pytest.raises(TimedOut):
        OpenCvCameraDriver(open_seconds=0.3).open({"source": server.url})
    assert grabbers() == 0


def test_password_of_an_address_is_sent_but_never_shown(driver: OpenCvCameraDriver) -> None:
    with WebServer(b"HTTP/1.0 401 Unauthorized\r\n\r\n") as server:
        address = server.url.replace("http://", "http://user:s%40crypt@")
        with pytest.raises(PermissionDenied) as caught:
            driver.open({"source": address})
        assert b"Authorization: Basic dXNlcjpzQGNyeXB0\r\n" in server.requests[0]
    shown = repr(caught.value) + caught.value.remedy + repr(driver.list({"source": address}))
    assert "crypt" not in shown


@pytest.mark.parametrize("source", ["http://", "http://h:0/", "http://h:99999/", "http://h/a b", "ftp://h/x", ""])
def test_unusable_addresses(driver: OpenCvCameraDriver, source: str) -> None:
    with pytest.raises(Unsupported):
        driver.open({"source": source})


def test_damaged_picture_does_not_end_a_stream(driver: OpenCvCameraDriver) -> None:
    def part(body: bytes) -> bytes:
        return b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body) + body + b"\r\n"

    good = [cv2.imencode(".jpg", picture(100))[1].tobytes(), cv2.imencode(".jpg", picture(220))[1].tobytes()]
    parts = part(good[0]) * 3 + part(b"no jpeg at all") + part(good[1])
    with WebServer(MJPEG + parts, keep=True) as server, driver.open({"source": server.url}) as camera:
        first(camera, lambda frame: abs(level(frame.bgr) - 220) < 8)
