"""A camera that serves motion JPEG over HTTP, as network cameras and USB-to-IP bridges do.

The wire is `multipart/x-mixed-replace` (RFC 2046 section 5.1 for the framing): one part per picture, each with its
`Content-Length`. What the lens sees is a function of time that `show` sets; it is asked for a picture only while
somebody watches.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from hal import Clock, SystemClock
from simulators.devices.fault_orders import OrdersInForce
from simulators.devices.faults import Fault, FaultOrder, require_playable

Picture = NDArray[np.uint8]
"""BGR, uint8 `[height, width, 3]`."""

FrameSource = Callable[[float], Picture]
"""From the seconds since this source was shown to the picture at that moment."""

_BOUNDARY = "frame"
_JPEG_QUALITY = 92
_SEND_SECONDS = 2.0
_SHORT_READ_SHARE = 3
_MEDIA_TYPE = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
_REFUSALS = {Fault.BUSY: 503, Fault.PERMISSION_DENIED: 401}
FAULTS = frozenset(
    {
        Fault.UNPLUG,
        Fault.STALL,
        Fault.SHORT_READ,
        Fault.CORRUPT,
        Fault.BUSY,
        Fault.PERMISSION_DENIED,
        Fault.SLOW,
        Fault.WRONG_DESCRIPTOR,
    }
)


def grey_card(height: int, width: int) -> Picture:
    """A still grey wedge, uint8 `[height, width, 3]`: what the camera sees before anything was shown to it."""
    wedge = np.linspace(32, 224, width, dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(wedge[None, :, None], (height, width, 3)))


class CameraStream:
    """A simulated camera at `url`; any number of clients may watch, each gets its own pictures.

    `size` is `(height, width)` in pixels, `fps` the pictures per second, `port` 0 lets the system choose one. Starts
    at once and runs until `close`.

    Faults: `unplug` cuts every connection and every new one before an answer; `stall` keeps them and sends nothing;
    `short-read` sends a third of each picture; `corrupt` changes bytes of them; `slow` sends each late; `busy` answers
    newcomers with 503, `permission-denied` with 401, `wrong-descriptor` with a web page. `after` counts pictures, for
    the last three newcomers.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        fps: float = 10.0,
        size: tuple[int, int] = (480, 640),
        clock: Clock | None = None,
    ) -> None:
        self.fps = fps
        self.size = size
        self.clock = clock or SystemClock()
        self._lens = threading.Lock()
        self.plan = OrdersInForce(self.clock)
        self._closed = False
        card = grey_card(*size)
        self.show(lambda _: card)
        self._server = _Server((host, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="camera-stream")
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the stream is served."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/stream.mjpg"

    @property
    def clients(self) -> int:
        """How many clients hold a connection now."""
        return len(self._server.connections)

    def show(self, source: FrameSource) -> None:
        """Put another scene before the lens; its seconds start at zero now."""
        with self._lens:
            self._source = source
            self._shown_ns = self.clock.monotonic_ns()

    def picture(self) -> Picture:
        """What the lens sees now; raises `ValueError` when the source yields anything but a picture of `size`."""
        with self._lens:
            picture = self._source((self.clock.monotonic_ns() - self._shown_ns) / 1e9)
        if picture.shape != (*self.size, 3) or picture.dtype != np.uint8:
            raise ValueError(f"frame source gave {picture.dtype} {picture.shape}, not uint8 {(*self.size, 3)}")
        return picture

    @property
    def faults(self) -> frozenset[Fault]:
        """The faults that this camera can play."""
        return FAULTS

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault."""
        require_playable(self, order)
        self.plan.add(order)
        if order.fault is Fault.UNPLUG and not order.after:
            self._server.cut()

    def mend(self) -> None:
        """End every fault."""
        self.plan.clear()

    def stall(self) -> None:
        """Fault: keep every connection, send no further picture."""
        self.inject(FaultOrder(Fault.STALL))

    def drop(self) -> None:
        """Fault: cut every connection, and cut new ones before an answer, as a camera that was unplugged."""
        self.inject(FaultOrder(Fault.UNPLUG))

    def resume(self) -> None:
        """End `stall` and `drop`."""
        self.mend()

    @property
    def dropped(self) -> bool:
        """Whether nobody gets through: unplugged, or closed."""
        return self._closed or bool(self.plan.due(Fault.UNPLUG))

    def part(self) -> bytes | None:
        """One part of the multipart body as the faults in force leave it; `None` while nothing is sent.

        Raises `BrokenPipeError` when the camera is unplugged at this picture.
        """
        if self.plan.strikes(Fault.UNPLUG):
            self._server.cut()
            raise BrokenPipeError("unplugged")
        if self.plan.strikes(Fault.STALL):
            return None
        jpeg = cv2.imencode(".jpg", self.picture(), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
        sent = self.plan.corrupted(jpeg) or jpeg
        if self.plan.strikes(Fault.SHORT_READ):
            sent = sent[: len(sent) // _SHORT_READ_SHARE]
        head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        return head.encode() + sent + b"\r\n"

    def close(self) -> None:
        """End every connection, the server and its threads; closing twice is allowed."""
        self._closed = True
        self._server.cut()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    """Accepts watchers and knows their sockets, so that a fault can cut them."""

    daemon_threads = False

    def __init__(self, address: tuple[str, int], camera: CameraStream) -> None:
        self.camera = camera
        self.connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Watcher)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Refuse every newcomer while the camera is dropped."""
        return not self.camera.dropped

    def enlist(self, connection: socket.socket) -> None:
        """Count a watcher in."""
        with self._lock:
            self.connections.add(connection)
        if self.camera.dropped:
            self.cut()

    def discharge(self, connection: socket.socket) -> None:
        """Count a watcher out."""
        with self._lock:
            self.connections.discard(connection)

    def cut(self) -> None:
        """End every connection from this side; its thread notices and leaves."""
        with self._lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


class _Watcher(BaseHTTPRequestHandler):
    """One client: answers GET with an endless multipart body."""

    server: _Server
    timeout = _SEND_SECONDS

    def setup(self) -> None:
        """Register the connection; small packets leave at once."""
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.enlist(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.server.discharge(self.connection)
        super().finish()

    def do_GET(self) -> None:
        """Stream pictures until the client leaves or a fault cuts the connection."""
        plan = self.server.camera.plan
        try:
            for fault, status in _REFUSALS.items():
                if plan.strikes(fault):
                    self.send_error(status)
                    return
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if plan.strikes(Fault.WRONG_DESCRIPTOR) else _MEDIA_TYPE)
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self._stream(self.server.camera)
        except OSError:
            self.close_connection = True

    def _stream(self, camera: CameraStream) -> None:
        due = camera.clock.monotonic_ns()
        while True:
            slow = camera.plan.strikes(Fault.SLOW)
            if slow and self._left_within(slow.order.seconds):
                return
            part = camera.part()
            if part is not None:
                self.wfile.write(part)
            due = max(due + int(1e9 / camera.fps), camera.clock.monotonic_ns())
            if self._left_within(max(0, due - camera.clock.monotonic_ns()) / 1e9):
                return

    def _left_within(self, seconds: float) -> bool:
        """Wait for the next picture's time; true when the client (or `cut`) ended the connection meanwhile."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        return bool(readable) and not self.connection.recv(4096)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet."""
