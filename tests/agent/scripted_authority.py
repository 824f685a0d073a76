"""An authority that says what a test tells it to: real TLS 1.3, HTTP and WebSocket on loopback, answers by script."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from protocol.checkpoint import LOG_KEY_USAGE
from protocol.codec import encode
from protocol.messages import Event
from protocol.problems import ErrorCode, Problem

Handler = Callable[[bytes], object]
YEAR = datetime.timedelta(days=365)


class Refusal(Exception):
    """A problem document to answer with."""

    def __init__(self, status: int, code: ErrorCode, detail: str = "", remedy: str = "") -> None:
        super().__init__(detail)
        self.problem = Problem(title="refused", status=status, code=code, detail=detail, remedy=remedy)


@dataclass
class Raw:
    """An answer byte for byte."""

    status: int
    body: bytes


class TestCa:
    """A certificate authority for servers and nodes."""

    __test__ = False

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.key.public_key(), "test CA", [], x509.BasicConstraints(True, None))
        self.pem = self.certificate.public_bytes(Encoding.PEM).decode()

    def server(self, folder: Path) -> tuple[Path, Path]:
        """Certificate and key files of a server at 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = self._sign(key.public_key(), "server", names, x509.BasicConstraints(False, None))
        paths = folder / "server.pem", folder / "server.key"
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return paths

    def node(self, public: Any, node_id: str, *, age: datetime.timedelta = datetime.timedelta(minutes=1)) -> str:
        """A node's certificate in PEM, made `age` ago for a day."""
        names = [x509.UniformResourceIdentifier(f"keyvigil://node/{node_id}")]
        certificate = self._sign(public, "node", names, x509.BasicConstraints(False, None), age, age * 0)
        return certificate.public_bytes(Encoding.PEM).decode()

    def log(self, public: Any) -> x509.Certificate:
        """A certificate for the audit log's key."""
        name, year = _name("test CA"), datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(_name("log")).issuer_name(name).public_key(public)
        builder = builder.serial_number(7).not_valid_before(year - YEAR).not_valid_after(year + YEAR)
        builder = builder.add_extension(x509.ExtendedKeyUsage([LOG_KEY_USAGE]), critical=False)
        return builder.sign(self.key, SHA256())

    def _sign(
        self,
        public: Any,
        name: str,
        names: list[Any],
        constraints: x509.BasicConstraints,
        age: datetime.timedelta = datetime.timedelta(minutes=1),
        life: datetime.timedelta = YEAR,
    ) -> x509.Certificate:
        begin = datetime.datetime.now(datetime.UTC) - age
        life = life or datetime.timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name("test CA")).public_key(public)
        builder = (
            builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(begin + life)
        )
        builder = builder.add_extension(constraints, critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class ScriptedAuthority:
    """Routes to handlers; what a handler returns is encoded, a `Refusal` it raises becomes a problem document."""

    ca: TestCa
    url: str
    routes: dict[tuple[str, str], Handler] = field(default_factory=dict)
    on_connect: list[Event | bytes] = field(default_factory=list)
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    sockets: list[asyncio.Queue[bytes | None]] = field(default_factory=list)
    connections: int = 0
    flaws: list[Exception] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop | None = None

    def on(self, method: str, path: str, handler: Handler) -> None:
        self.routes[method, path] = handler

    def push(self, message: Event | bytes) -> None:
        """Send an event to every connected node."""
        frame = message if isinstance(message, bytes) else encode(message)
        assert self.loop is not None
        for queue in list(self.sockets):
            self.loop.call_soon_threadsafe(queue.put_nowait, frame)

    def hang_up(self) -> None:
        """Close every WebSocket."""
        assert self.loop is not None
        for queue in list(self.sockets):
            self.loop.call_soon_threadsafe(queue.put_nowait, None)

    def seen(self, path: str) -> list[bytes]:
        """Bodies of the requests to `path`."""
        return [body for _, asked, body in self.requests if asked == path]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.loop = asyncio.get_running_loop()
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(receive, send)

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        self.requests.append((scope["method"], scope["path"], body))
        full = f"{scope['path']}?{scope['query_string'].decode()}"
        path = full if (scope["method"], full) in self.routes else scope["path"]
        status, answer = self._answer(scope["method"], path, body)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        handler = self.routes.get((method, path))
        if handler is None:
            return 404, b"no such route in this test"
        try:
            answer = handler(body)
        except Refusal as refusal:
            return refusal.problem.status, encode(refusal.problem)
        except Exception as flaw:
            self.flaws.append(flaw)
            return 500, b"the test's own handler failed"
        if isinstance(answer, Raw):
            return answer.status, answer.body
        return 200, answer if isinstance(answer, bytes) else encode(answer)

    async def _websocket(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for message in self.on_connect:
            queue.put_nowait(message if isinstance(message, bytes) else encode(message))
        self.sockets.append(queue)
        self.connections += 1
        gone = asyncio.create_task(_until_gone(receive))
        try:
            while not gone.done():
                getting = asyncio.create_task(queue.get())
                await asyncio.wait([getting, gone], return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    break
                frame = getting.result()
                if frame is None:
                    await send({"type": "websocket.close", "code": 1001})
                    break
                await send({"type": "websocket.send", "text": frame.decode("utf-8", "replace")})
        finally:
            gone.cancel()
            self.sockets.remove(queue)


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass


@contextmanager
def served(folder: Path, ca: TestCa | None = None) -> Iterator[ScriptedAuthority]:
    """A scripted authority on a free port of loopback."""
    ca = ca or TestCa()
    listener = socket.create_server(("127.0.0.1", 0))
    authority = ScriptedAuthority(ca, f"https://127.0.0.1:{listener.getsockname()[1]}")
    authority.on("GET", "/v1/ca", lambda _: ca.pem.encode())
    certificate, key = ca.server(folder)
    config = uvicorn.Config(
        authority,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_cert_reqs=ssl.CERT_NONE,
        log_level="critical",
        lifespan="off",
        loop="asyncio",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield authority
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
    if authority.flaws:
        raise authority.flaws[0]
