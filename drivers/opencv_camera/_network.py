"""Network cameras: motion JPEG (`multipart/x-mixed-replace`) over HTTP.

The stream is opened here (RFC 9112: request, status line, header fields), checked, and handed to FFMPEG as an open
descriptor. FFMPEG then resolves no address itself, content that is not multipart is refused before it guesses at it
(a playlist could name files of this machine), and `interrupt` ends a stalled read at once by shutting the socket down.
"""

from __future__ import annotations

import base64
import http.client
import io
import re
import socket
import time
from urllib.parse import SplitResult, unquote, urlsplit

import cv2

from drivers.opencv_camera._options import CONFIGURE, CameraOptions
from drivers.opencv_camera._source import Capture, Shot, camera_info
from hal import (
    Busy,
    Capability,
    DeviceError,
    Disconnected,
    NotFound,
    PermissionDenied,
    ProtocolError,
    TimedOut,
    Transport,
    Unsupported,
)

_ANSWER_SECONDS = 2.0
_PEEK_SECONDS = 0.01
_BAD_FRAMES = 5
_MAX_HEAD = 16_384
_MAX_PART_HEAD = 1024
_JPEG = b"\xff\xd8"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r?\n")
_REFUSALS: dict[int, tuple[type[DeviceError], str]] = {
    401: (PermissionDenied, "Put the user and password of the camera into its address."),
    403: (PermissionDenied, "Put the user and password of the camera into its address."),
    404: (NotFound, CONFIGURE),
    503: (Busy, Busy.default_remedy),
}


class Network:
    """A camera at an `http://` address. It is announced as virtual: nothing ties it to this machine."""

    def __init__(self, options: CameraOptions) -> None:
        self._url = _checked(options.source)
        self._place = f"http://{self._url.hostname}:{self._url.port or 80}{self._url.path}"
        self._socket: socket.socket | None = None
        self._interrupted = False
        self._capture: Capture = None
        self._bad = 0
        self.info = camera_info(
            Transport.VIRTUAL, self._place, Capability.RGB, Capability.SHARED, name="network camera"
        )

    def is_present(self) -> bool:
        """Whether something accepts a connection at the address."""
        try:
            self._connect().close()
        except DeviceError:
            return False
        return True

    def start(self) -> None:
        """Connect, check, decode; raises `NotFound`, `TimedOut`, `PermissionDenied`, `Busy`, `ProtocolError`."""
        self._socket = connection = self._connect()
        if self._interrupted:
            raise Disconnected(f"the camera at {self._place} was closed while it was opened")
        try:
            connection.sendall(_request(self._url))
            self._check(_head(connection))
            is_jpeg = self._leads_to_jpeg(connection)
        except TimeoutError:
            raise TimedOut(f"the camera at {self._place} took the connection but does not answer") from None
        except OSError as error:
            raise Disconnected(f"the camera at {self._place} cut the connection: {error.strerror}") from None
        if not is_jpeg:
            raise self._not_mjpeg()
        connection.settimeout(None)
        self._capture = cv2.VideoCapture(f"pipe:{connection.fileno()}", cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            raise self._not_mjpeg()

    def _leads_to_jpeg(self, connection: socket.socket) -> bool:
        """Whether the body begins with a picture; it is left in place. FFMPEG, given none, would search for long."""
        limit = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < limit and not self._interrupted:
            lead = connection.recv(_MAX_PART_HEAD, socket.MSG_PEEK)
            verdict = leads_to_jpeg(lead) if lead else False
            if verdict is not None:
                return verdict
            time.sleep(_PEEK_SECONDS)
        raise TimeoutError

    def _connect(self) -> socket.socket:
        try:
            return socket.create_connection((self._url.hostname, self._url.port or 80), timeout=_ANSWER_SECONDS)
        except TimeoutError:
            raise TimedOut(f"no answer from the camera at {self._place}") from None
        except OSError as error:
            raise NotFound(
                f"no camera at {self._place}: {error.strerror}", remedy="Switch the camera on, or correct its address."
            ) from None

    def _check(self, head: bytes) -> None:
        """Raise unless the answer is 200 with the media type of motion JPEG."""
        if not head:
            raise Disconnected(f"the camera at {self._place} cut the connection without an answer")
        try:
            status, media_type = parse_head(head)
        except ProtocolError:
            raise self._not_mjpeg() from None
        if status != http.client.OK:
            kind, remedy = _REFUSALS.get(status, (ProtocolError, CONFIGURE))
            raise kind(f"the camera at {self._place} answered with HTTP status {status}", remedy=remedy)
        if media_type != "multipart/x-mixed-replace":
            raise self._not_mjpeg()

    def grab(self) -> Shot | None:
        """The next picture, `None` for a damaged one; raises `Disconnected`, `ProtocolError`."""
        good, picture = self._capture.read()
        if good:
            self._bad = 0
            return Shot(picture)
        self._bad += 1
        if self._ended():
            raise Disconnected(f"the camera at {self._place} ended the stream")
        if self._bad >= _BAD_FRAMES:
            raise self._not_mjpeg()
        return None

    def _ended(self) -> bool:
        try:
            return self._socket is None or not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _not_mjpeg(self) -> ProtocolError:
        return ProtocolError(
            f"what answers at {self._place} does not send motion JPEG",
            remedy="Correct the camera's address, or set the camera to motion JPEG over HTTP.",
        )

    def interval_ns(self) -> int:
        """The camera keeps its own pace."""
        return 0

    def interrupt(self) -> None:
        """Shut the socket down: a read that waits for data returns at once."""
        self._interrupted = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def finish(self) -> None:
        """Close the stream and its socket."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()
        if self._socket is not None:
            self._socket.close()


def parse_head(head: bytes) -> tuple[int, str]:
    """The status and the media type of an HTTP answer, from its first line to the empty one; raises `ProtocolError`."""
    status = _STATUS.match(head)
    if status is None:
        raise ProtocolError("the answer is not HTTP")
    try:
        fields = http.client.parse_headers(io.BytesIO(head[status.end() :]))
    except http.client.HTTPException:
        raise ProtocolError("the answer's header is not HTTP") from None
    return int(status[1]), fields.get_content_type()


def _checked(address: str) -> SplitResult:
    """Split an address; raises `Unsupported`. The message never repeats it: it may hold a password."""
    try:
        url = urlsplit(address)
        usable = bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable or not address.isascii() or not address.isprintable() or " " in address:
        raise Unsupported("the camera's address is not of the form http://host:port/path", remedy=CONFIGURE)
    return url


def _request(url: SplitResult) -> bytes:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    lines = [f"GET {target} HTTP/1.0", f"Host: {url.hostname}", "Accept: multipart/x-mixed-replace"]
    if url.username is not None:
        pair = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
        lines.append(f"Authorization: Basic {base64.b64encode(pair).decode()}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _head(connection: socket.socket) -> bytes:
    """Status line and header fields; byte by byte, since what follows them belongs to FFMPEG."""
    head = bytearray()
    while not head.endswith((b"\r\n\r\n", b"\n\n")) and len(head) < _MAX_HEAD:
        byte = connection.recv(1)
        if not byte:
            break
        head += byte
    return bytes(head)


def leads_to_jpeg(lead: bytes) -> bool | None:
    """Whether a body begins with a part (RFC 2046 section 5.1.1) whose content begins as a JPEG does.

    `None` while `lead`, of which at most 1024 bytes count, is too short to tell.
    """
    if not lead.startswith(b"--"[: len(lead)]):
        return False
    _, end, content = lead[:_MAX_PART_HEAD].replace(b"\r\n", b"\n").partition(b"\n\n")
    if end and len(content) >= len(_JPEG):
        return content.startswith(_JPEG)
    return False if len(lead) >= _MAX_PART_HEAD else None
