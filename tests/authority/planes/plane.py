"""A node plane on loopback: uvicorn, TLS, and nodes with certificates of its CA, in a thread of its own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sqlalchemy import Row, insert, select, update
from websockets.sync.client import ClientConnection, connect

from authority.keys import FileKek
from authority.pki import CertificateAuthority, thumbprint
from authority.planes import Hub, PlaneServer, create_node_app, node_server
from authority.runtime import Push, Runtime
from authority.store import Store, schema
from authority.trust import default_policy
from tests.databases import memory_url

HOST = "127.0.0.1"
PATIENCE_S = 20.0


@dataclass
class Listening:
    """A server in a thread with an event loop of its own."""

    server: PlaneServer
    loop: asyncio.AbstractEventLoop | None = None
    started: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self.started.wait(PATIENCE_S)

    def call(self, work: Callable[[], Any]) -> Any:
        """The result of a coroutine that `work` makes, run on the server's loop."""

        async def made() -> Any:
            return await work()

        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(made(), self.loop).result(PATIENCE_S)

    def stop(self) -> float:
        """Ask the server to end; gives the seconds until it had."""
        begun = time.monotonic()
        self.server.should_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return time.monotonic() - begun

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            self.loop = runner.get_loop()
            runner.run(self._serve())

    async def _serve(self) -> None:
        task = asyncio.create_task(self.server.serve())
        while not self.server.started and not task.done():
            await asyncio.sleep(0)
        self.started.set()
        await task


@contextmanager
def listening(server: PlaneServer) -> Iterator[Listening]:
    running = Listening(server)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@dataclass
class Plane:
    """The node plane of an authority in memory."""

    folder: Path
    ca: CertificateAuthority
    store: Store
    hub: Hub
    running: Listening

    @property
    def port(self) -> int:
        return self.running.server.port

    def node(self, name: str, *, state: str = "active") -> Client:
        """A registered node, with the certificate that it was given."""
        node_id = hashlib.sha256(name.encode()).hexdigest()
        client = Client.of(self, self.ca, name, node_id)
        certificate = x509.load_pem_x509_certificate(client.certificate.read_bytes())
        row = {
            "id": node_id,
            "name": name,
            "state": state,
            "lab": False,
            "ek_public": b"",
            "ak_public": b"",
            "delivery_public": b"",
            "certificate_sha256": thumbprint(certificate),
            "certificate_not_after": certificate.not_valid_after_utc.timestamp(),
            "reference_pcrs": "{}",
            "devices": "[]",
            "joined_at": time.time(),
        }
        self.store.run(lambda conn: conn.execute(insert(schema.node).values(**row)) and None)
        return client

    def stranger(self) -> Client:
        """Somebody without a certificate."""
        return Client(self, "", None)

    def row(self, node_id: str) -> Row[Any]:
        return self.store.run(lambda conn: conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one())

    def set_node(self, node_id: str, **values: object) -> None:
        change = update(schema.node).where(schema.node.c.id == node_id).values(**values)
        self.store.run(lambda conn: conn.execute(change) and None)

    def push(self, pushes: Sequence[Push]) -> None:
        self.running.call(lambda: self.hub.push(pushes))


@dataclass(frozen=True)
class Client:
    """One end of TLS connections to a plane; `certificate` is a file with certificate and key."""

    plane: Plane
    node_id: str
    certificate: Path | None

    @classmethod
    def of(cls, plane: Plane, ca: CertificateAuthority, name: str, node_id: str, **lifetime: float) -> Client:
        """With a certificate that `ca` issues."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
        begins, lasts = lifetime.get("begins", time.time()), lifetime.get("lasts", 3600.0)
        certificate = ca.issue_node(csr.public_bytes(Encoding.DER), name, node_id, begins, lasts)
        file = plane.folder / f"{name}-{os.urandom(4).hex()}.pem"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(certificate.public_bytes(Encoding.PEM) + pem)
        return cls(plane, node_id, file)

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.plane.ca.ca_file))
        if self.certificate is not None:
            context.load_cert_chain(self.certificate)
        return context

    def request(self, method: str, path: str, body: bytes | None = None, **options: Any) -> httpx.Response:
        with httpx.Client(verify=self.context(), trust_env=False, timeout=PATIENCE_S) as http:
            return http.request(method, f"https://{HOST}:{self.plane.port}{path}", content=body, **options)

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, body: bytes = b"{}") -> httpx.Response:
        return self.request("POST", path, body)

    def raw(self) -> ssl.SSLSocket:
        """A bare TLS connection."""
        plain = socket.create_connection((HOST, self.plane.port), PATIENCE_S)
        return self.context().wrap_socket(plain, server_hostname=HOST)

    def events(self) -> ClientConnection:
        """An open WebSocket; raises when it is refused."""
        url = f"wss://{HOST}:{self.plane.port}/v1/events"
        return connect(url, ssl=self.context(), proxy=None, open_timeout=PATIENCE_S, close_timeout=1)


def make_runtime(ca: CertificateAuthority) -> Runtime:
    seed = random.Random(11)
    kek = FileKek(seed.randbytes(32), seed.randbytes)
    return Runtime(default_policy(), time.time, seed.randbytes, kek, ca.kos_key, ca.approval_key, 1)


@contextmanager
def open_plane(folder: Path) -> Iterator[Plane]:
    ca = CertificateAuthority.create(folder / "ca", [HOST, "localhost"], time.time())
    store, hub = Store(memory_url()), Hub()
    app = create_node_app(store, make_runtime(ca), ca, [], [], hub)
    try:
        with listening(node_server(app, ca, HOST, 0)) as running:
            yield Plane(folder, ca, store, hub, running)
    finally:
        store.close()


def everything(sock: socket.socket) -> bytes:
    """All that the other side sends until it closes."""
    received = b""
    try:
        while part := sock.recv(65536):
            received += part
    except (ConnectionError, ssl.SSLError):
        pass
    return received
