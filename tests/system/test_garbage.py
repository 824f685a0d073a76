"""Garbage on every socket: whoever listens stays alive, says why, and serves the next one."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from agent.identity import pinned_context
from protocol.problems import ErrorCode
from simulators.lab.insider import Insider
from simulators.lab.processes import command, run
from simulators.lab.world import wait_for
from tests.system.harness import Site, name_for

pytestmark = pytest.mark.system

RAW = {
    "random bytes": bytes(range(256)) * 8,
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a broken TLS record": b"\x16\x03\x01\xff\xff" + b"\x01" * 64,
    "zeros": bytes(4096),
    "nothing": b"",
}
BODIES = {
    "no JSON": b"\xff\xfe{",
    "another type": b"[]",
    "an unknown field": b'{"node_id": "00", "more": 1}',
    "deep nesting": b"[" * 20_000,
    "a huge number": b'{"node_id": 1e999999}',
}
SECONDS = 5.0


def pour(address: tuple[str, int] | str, data: bytes) -> bytes:
    """Send bytes to a socket and stop sending; what comes back until the other side closes or is silent."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with closing(socket.socket(family)) as link:
        link.settimeout(SECONDS)
        link.connect(address)
        with suppress(OSError):
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
        return _answer(link)


def _answer(link: socket.socket) -> bytes:
    found = b""
    with suppress(OSError):
        while len(found) < 65536 and (part := link.recv(4096)):
            found += part
    return found


def planes(site: Site) -> dict[str, int]:
    return {"node": site.authority.node_port, "operator": site.authority.operator_port}


@pytest.fixture
def machine(site: Site, insider: Callable[[Site, str], Insider], request: pytest.FixtureRequest) -> Insider:
    """A node whose certificate the garbage comes with."""
    return insider(site, name_for(request.node.name)).join()


@pytest.fixture
def http(site: Site) -> Iterator[httpx.Client]:
    """A client without a certificate that knows the authority's CA."""
    context = pinned_context((site.authority.state / "ca" / "ca.pem").read_text())
    with httpx.Client(verify=context, timeout=10, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("plane", ["node", "operator"])
def test_a_plane_survives_bytes_that_are_no_tls(site: Site, plane: str) -> None:
    for data in RAW.values():
        pour(("127.0.0.1", planes(site)[plane]), data)
    assert site.operator.get("/v1/health")["ok"]
    assert site.node("node-a")["state"] == "active"


@pytest.mark.parametrize("plane", ["node", "operator"])
def test_a_plane_survives_tls_that_is_no_http(site: Site, plane: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    answers = []
    for data in (RAW["random bytes"], b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n"):
        link = socket.create_connection(("127.0.0.1", planes(site)[plane]), SECONDS)
        with context.wrap_socket(link) as wrapped:
            wrapped.sendall(data)
            answers.append(_answer(wrapped))
    assert all(not answer or answer.startswith(b"HTTP/1.1 400") for answer in answers)
    assert site.operator.get("/v1/health")["ok"]


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_message_is_a_problem_document(site: Site, http: httpx.Client, name: str) -> None:
    for path in ("/v1/nonces", "/v1/join"):
        answer = http.post(f"{site.url}{path}", content=BODIES[name], headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == ErrorCode.MALFORMED
        assert answer.json()["remedy"]


def test_a_body_that_is_too_large_is_not_read(site: Site, http: httpx.Client) -> None:
    answer = http.post(f"{site.url}/v1/join", content=b" " * (64 * 1024 + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, ErrorCode.TOO_LARGE)
    assert site.operator.get("/v1/health")["ok"]


def test_a_node_that_sends_no_messages_is_refused_route_by_route(site: Site, machine: Insider) -> None:
    routes = ["enrolments", "attest", "challenges/x/begin", "challenges/x/evidence", "challenges/x/failure"]
    with httpx.Client(verify=machine.link.context(), base_url=site.url, timeout=10, trust_env=False) as client:
        for route in [*routes, "deliveries/1/ack"]:
            answer = client.post(f"/v1/{route}", content=os.urandom(200))
            assert (answer.status_code, answer.json()["code"]) == (400, ErrorCode.MALFORMED), route
        for query in ("after=-1", "after=x", "after=99999999999999999999"):
            assert client.get(f"/v1/deliveries?{query}").status_code == 422
        assert client.get("/v1/deliveries?after=0").json() == []


@pytest.mark.parametrize("frame", ["garbage", json.dumps({"type": "summons"}), b"\x00\xff" * 100, "x" * 100_000])
def test_a_node_that_talks_on_the_event_stream_is_dropped(site: Site, machine: Insider, frame: str | bytes) -> None:
    before = site.connections()
    with connect(f"{site.url.replace('https', 'wss')}/v1/events", ssl=machine.link.context(), proxy=None) as stream:
        wait_for("the connection", lambda: site.connections() == before + 1 or None, 10)
        with suppress(ConnectionClosed):
            stream.send(frame)
        with pytest.raises(ConnectionClosed):
            for _ in range(10):
                stream.recv(timeout=10)
    wait_for("the end of the connection", lambda: site.connections() == before or None, 10)
    assert machine.client.deliveries(0) == []


def test_the_event_stream_needs_a_certificate(site: Site) -> None:
    context = pinned_context((site.authority.state / "ca" / "ca.pem").read_text())
    with pytest.raises(Exception, match="401"):
        connect(f"{site.url.replace('https', 'wss')}/v1/events", ssl=context, proxy=None)


def _endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


@pytest.mark.parametrize("device", ["usbip", "camera"])
def test_a_simulated_device_survives_garbage(site: Site, device: str) -> None:
    (node,) = site.world.nodes
    assert node.endpoints is not None
    address = _endpoint(node.endpoints.usbip) if device == "usbip" else ("127.0.0.1", node.camera_port)
    import_then_garbage = bytes.fromhex("0111800300000000") + b"1-1".ljust(32, b"\0") + os.urandom(96)
    for data in [*RAW.values(), import_then_garbage, b"\x01\x11\x80\x05" + bytes(4)]:
        pour(address, data)
    site.world.check()
    _sensors_are_there(site)


def test_the_control_socket_of_a_station_survives_garbage(site: Site) -> None:
    (node,) = site.world.nodes
    path = os.fspath(node.folder / "control")
    for data in [
        *RAW.values(),
        b"[" * 20_000,
        b'{"op": "send"}\n',
        b'{"op": ["x"]}\n',
        b'{"op": "hear", "message": 1}\n',
        b"[1]\n",
    ]:
        lines = pour(path, data + b"\n").splitlines()
        assert all(json.loads(line)["ok"] is False for line in lines)
    assert node.tell({"op": "ping"})["ok"]


def _sensors_are_there(site: Site) -> None:
    """`keyvigil devices` finds every device of the node."""
    (node,) = site.world.nodes
    argv = [command("keyvigil"), "devices", "--config", os.fspath(node.config), "--json"]
    found = json.loads(run(argv, env=node.environment()))
    attached = {report["driver"] for report in found["drivers"] if report["attached"]}
    assert {"uru4000", "opencv", "portaudio", "tpm2"} <= attached


def test_after_all_this_the_person_is_accepted(site: Site) -> None:
    challenge = site.challenge("node-a")
    assert site.ended("node-a", challenge, 60) == "accepted"
