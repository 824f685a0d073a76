"""The node plane over TLS on loopback: who is let in, what is refused, and what is pushed."""

from __future__ import annotations

import time

import httpx
import pytest
from sqlalchemy import insert
from websockets.exceptions import ConnectionClosed, InvalidStatus

from authority.pki import CertificateAuthority
from authority.planes.node_plane import LOG_BYTES
from authority.store import schema
from protocol.codec import decode, encode
from protocol.levels import Access, Rotation, Tier
from protocol.messages import DeliveryAck, DeliveryEvent, Event, JoinRequest, Nonce, NonceRequest, StatusEvent
from protocol.problems import ErrorCode, Problem
from tests.authority.planes.plane import PATIENCE_S, Client, Plane, everything

NODE_ROUTES = [
    ("POST", "/v1/enrolments"),
    ("PUT", "/v1/enrolments/0"),
    ("POST", "/v1/challenges/0/begin"),
    ("POST", "/v1/challenges/0/evidence"),
    ("POST", "/v1/challenges/0/failure"),
    ("POST", "/v1/attest"),
    ("POST", "/v1/deliveries/1/ack"),
    ("GET", "/v1/deliveries"),
]
STATUS = StatusEvent(state="active", score=900, tier=Tier.HIGH, access=Access.FULL, rotation=Rotation.STANDARD)


def problem(response: httpx.Response) -> Problem:
    assert response.headers["content-type"] == "application/problem+json"
    found = decode(response.content, Problem)
    assert found.status == response.status_code
    return found


def deliver(plane: Plane, node_id: str, number: int, acked_at: float | None = None) -> None:
    row = {"node_id": node_id, "number": number, "network": "net", "envelope": b"sealed", "issued_at": 0.0}
    plane.store.run(lambda conn: conn.execute(insert(schema.delivery).values(**row, acked_at=acked_at)) and None)


def test_anybody_gets_the_ca(plane: Plane) -> None:
    response = plane.stranger().get("/v1/ca")
    assert (response.status_code, response.text) == (200, plane.ca.certificate_pem)


def test_anybody_gets_a_nonce(plane: Plane) -> None:
    response = plane.stranger().post("/v1/nonces", encode(NonceRequest(node_id="0" * 64)))
    assert len(decode(response.content, Nonce).nonce) == 32


def test_a_join_without_a_token_is_refused_by_the_service(plane: Plane) -> None:
    request = JoinRequest(
        version=1, name="n", token="guess", ek_public=b"", ek_certificates=[], ak_public=b"", csr=b"", devices=[],
        agent_version="1",
    )  # fmt: skip
    response = plane.stranger().post("/v1/join", encode(request))
    assert (response.status_code, problem(response).code) == (400, ErrorCode.MALFORMED)
    assert "guess" not in response.text


@pytest.mark.parametrize(("method", "path"), NODE_ROUTES)
def test_no_node_route_answers_without_a_certificate(plane: Plane, method: str, path: str) -> None:
    response = plane.stranger().request(method, path, b"{}")
    assert (response.status_code, problem(response).code) == (401, ErrorCode.UNAUTHENTICATED)


@pytest.mark.parametrize(("method", "path"), NODE_ROUTES)
def test_every_node_route_lets_a_node_past_the_door(plane: Plane, method: str, path: str) -> None:
    client = plane.node(f"in-{NODE_ROUTES.index((method, path))}")
    assert client.request(method, path, b"{}").status_code not in {401, 403}


def test_a_node_gets_its_deliveries_and_acknowledges(plane: Plane) -> None:
    client = plane.node("receiver")
    deliver(plane, client.node_id, 7)
    found = decode(client.get("/v1/deliveries?after=6").content, list[DeliveryEvent])
    assert [event.number for event in found] == [7]
    assert client.get("/v1/deliveries?after=7").json() == []
    acked = client.post("/v1/deliveries/7/ack", encode(DeliveryAck(installed=True, sinks=["file"])))
    assert (acked.status_code, acked.json()) == (200, {})


def test_a_node_sees_no_delivery_of_another(plane: Plane) -> None:
    other, client = plane.node("other"), plane.node("curious")
    deliver(plane, other.node_id, 3)
    assert client.get("/v1/deliveries").json() == []
    response = client.post("/v1/deliveries/3/ack", encode(DeliveryAck(installed=True, sinks=[])))
    assert (response.status_code, problem(response).code) == (404, ErrorCode.NOT_FOUND)


def test_a_certificate_that_was_replaced_opens_nothing(plane: Plane) -> None:
    client = plane.node("renewed")
    assert client.get("/v1/deliveries").status_code == 200
    plane.set_node(client.node_id, certificate_sha256="0" * 64)
    assert client.get("/v1/deliveries").status_code == 401


@pytest.mark.parametrize("state", ["banned", "retired"])
def test_a_node_that_is_out_is_not_let_in(plane: Plane, state: str) -> None:
    client = plane.node(f"out-{state}", state=state)
    assert client.get("/v1/deliveries").status_code == 401


def test_our_ca_alone_does_not_make_a_node(plane: Plane) -> None:
    """Issued by the CA, but registered nowhere: as after a restored backup."""
    client = Client.of(plane, plane.ca, "unregistered", "0" * 64)
    assert client.get("/v1/deliveries").status_code == 401


def test_being_seen_is_noted_sparingly(plane: Plane) -> None:
    client = plane.node("seen")
    assert plane.row(client.node_id).last_seen_at is None
    client.get("/v1/deliveries")
    first = plane.row(client.node_id).last_seen_at
    assert first == pytest.approx(time.time(), abs=PATIENCE_S)
    client.get("/v1/deliveries")
    assert plane.row(client.node_id).last_seen_at == first
    plane.set_node(client.node_id, last_seen_at=first - 3600)
    client.get("/v1/deliveries")
    assert plane.row(client.node_id).last_seen_at >= first


def test_a_body_that_is_no_message_is_malformed(plane: Plane) -> None:
    client = plane.node("garbled")
    for body in (b"", b"\x00\xff", b"[]", b'{"nonce": 1}', b"[" * 60_000, b'{"extra": 1}'):
        response = client.post("/v1/attest", body)
        assert (response.status_code, problem(response).code) == (400, ErrorCode.MALFORMED)


def test_a_body_of_64_kib_is_read_and_one_byte_more_is_not(plane: Plane) -> None:
    client = plane.node("large")
    path = "/v1/challenges/c1/evidence"
    assert client.post(path, b" " * 65536).status_code == 400
    response = client.post(path, b" " * 65537)
    assert (response.status_code, problem(response).code) == (413, ErrorCode.TOO_LARGE)


def test_an_attestation_has_room_for_an_event_log_and_no_more(plane: Plane) -> None:
    client = plane.node("logging")
    assert client.post("/v1/attest", b" " * LOG_BYTES).status_code == 400
    response = client.post("/v1/attest", b" " * (LOG_BYTES + 1))
    assert (response.status_code, problem(response).code) == (413, ErrorCode.TOO_LARGE)


def test_a_body_of_unknown_length_ends_at_the_limit(plane: Plane) -> None:
    with plane.node("endless").raw() as sock:
        sock.sendall(b"POST /v1/challenges/c1/evidence HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        sock.sendall(chunk * 4 + b"1\r\nx\r\n")
        assert sock.recv(12) == b"HTTP/1.1 413"


def test_unknown_paths_methods_and_numbers_are_problems(plane: Plane) -> None:
    client = plane.node("lost")
    assert problem(client.get("/v1/nothing")).code is ErrorCode.NOT_FOUND
    assert problem(client.get("/v1/attest")).status == 405
    assert problem(client.get("/v1/deliveries?after=x")).status == 422
    assert problem(client.get(f"/v1/deliveries?after={2**70}")).status in {400, 422}
    assert problem(
        client.post(f"/v1/deliveries/{2**70}/ack", encode(DeliveryAck(installed=True, sinks=[])))
    ).status in {
        404,
        422,
    }


def test_a_description_of_the_plane_is_not_served(plane: Plane) -> None:
    assert {plane.stranger().get(path).status_code for path in ("/openapi.json", "/docs", "/redoc")} == {404}


def test_strangers_are_slowed_down_and_nodes_are_not(own_plane: Plane) -> None:
    stranger, client = own_plane.stranger(), own_plane.node("steady")
    with stranger.raw() as sock:
        sock.sendall(b"GET /v1/ca HTTP/1.1\r\nhost: a\r\n\r\n" * 150 + b"GET /x HTTP/1.1\r\nconnection: close\r\n\r\n")
        received = everything(sock)
    found = {int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]}
    assert found == {200, 429, 404}
    assert client.get("/v1/deliveries").status_code == 200


def test_a_socket_tells_the_standing_and_what_is_not_installed(plane: Plane) -> None:
    client = plane.node("connected")
    deliver(plane, client.node_id, 1, acked_at=1.0)
    deliver(plane, client.node_id, 2)
    with client.events() as events:
        first, second = (decode(events.recv(PATIENCE_S), Event) for _ in range(2))
    assert isinstance(first, StatusEvent)
    assert first.state == "active"
    assert second == DeliveryEvent(number=2, envelope=b"sealed")


def test_what_happens_is_pushed_to_its_node_alone(plane: Plane) -> None:
    one, two = plane.node("push-one"), plane.node("push-two")
    mine, theirs = DeliveryEvent(number=1, envelope=b"1"), DeliveryEvent(number=2, envelope=b"2")
    with one.events() as first, two.events() as second:
        for each in (first, second):
            assert isinstance(decode(each.recv(PATIENCE_S), Event), StatusEvent)
        plane.push([(two.node_id, theirs), (one.node_id, mine), (two.node_id, STATUS), ("f" * 64, STATUS)])
        assert decode(first.recv(PATIENCE_S), Event) == mine
        assert [decode(second.recv(PATIENCE_S), Event) for _ in range(2)] == [theirs, STATUS]


def test_a_second_connection_replaces_the_first(plane: Plane) -> None:
    client = plane.node("twice")
    with client.events() as first, client.events() as second:
        first.recv(PATIENCE_S)
        second.recv(PATIENCE_S)
        with pytest.raises(ConnectionClosed):
            first.recv(PATIENCE_S)
        plane.push([(client.node_id, STATUS)])
        assert decode(second.recv(PATIENCE_S), Event) == STATUS


def test_a_node_that_is_banned_is_told_and_put_out(plane: Plane) -> None:
    client = plane.node("expelled")
    last = StatusEvent(state="banned", score=0, tier=Tier.LOW, access=Access.RESTRICTED, rotation=Rotation.VERY_FAST)
    with client.events() as events:
        events.recv(PATIENCE_S)
        plane.push([(client.node_id, last), (client.node_id, STATUS)])
        assert decode(events.recv(PATIENCE_S), Event) == last
        with pytest.raises(ConnectionClosed) as closed:
            events.recv(PATIENCE_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_socket_without_certificate_is_refused_before_it_opens(plane: Plane) -> None:
    with pytest.raises(InvalidStatus) as refused:
        plane.stranger().events()
    assert refused.value.response.status_code == 401
    assert decode(refused.value.response.body, Problem).code is ErrorCode.UNAUTHENTICATED


@pytest.mark.parametrize(("name", "said"), [("text", "hello"), ("bytes", b"\x00"), ("flood", "x" * 200_000)])
def test_a_node_that_talks_is_put_out(plane: Plane, name: str, said: str | bytes) -> None:
    with plane.node(f"talker-{name}").events() as events:
        events.recv(PATIENCE_S)
        events.send(said)
        with pytest.raises(ConnectionClosed) as closed:
            events.recv(PATIENCE_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code in {1008, 1009}


def test_a_rogue_ca_makes_no_node(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> None:
    rogue = CertificateAuthority.create(tmp_path_factory.mktemp("rogue") / "ca", ["127.0.0.1"], time.time())
    client = plane.node("victim")
    forged = Client.of(plane, rogue, "victim", client.node_id)
    with pytest.raises(Exception, match=r"(?i)unknown ca|certificate|reset|closed|disconnected|eof"):
        forged.get("/v1/deliveries")
    assert client.get("/v1/deliveries").status_code == 200


def test_an_expired_certificate_makes_no_connection(plane: Plane) -> None:
    expired = Client.of(plane, plane.ca, "late", "0" * 64, begins=time.time() - 7200, lasts=3600)
    with pytest.raises(Exception, match=r"(?i)expired|certificate|reset|closed|disconnected|eof"):
        expired.get("/v1/ca")


def test_a_server_certificate_is_no_client_certificate(plane: Plane) -> None:
    """The server's own certificate is of the same CA, for another purpose."""
    both = plane.folder / "server-as-client.pem"
    both.write_bytes(plane.ca.server_certificate_file.read_bytes() + plane.ca.server_key_file.read_bytes())
    with pytest.raises(Exception, match=r"(?i)certificate|reset|closed|disconnected|eof"):
        Client(plane, "", both).get("/v1/ca")
