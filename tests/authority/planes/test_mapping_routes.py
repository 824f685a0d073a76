"""The mapping service over TLS: a node tells of itself and asks about its peers, and about nobody else."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import insert

from authority.keys import create_network
from authority.store import schema
from protocol.codec import decode, encode
from protocol.mapping import DataPlaneReport, MappingAnswer
from protocol.problems import ErrorCode, Problem
from tests.authority.planes.plane import Client, Plane, make_runtime


def network(plane: Plane, name: str, *members: Client) -> None:
    """A network whose members are all high; nothing is delivered, for the nodes have no delivery keys."""

    def make(conn) -> None:
        create_network(conn, make_runtime(plane.ca), name, 0.0)
        for number, member in enumerate(members, 1):
            place = {"address": f"10.7.0.{number}", "resource_class": "normal", "slot": number}
            conn.execute(insert(schema.member).values(network=name, node_id=member.node_id, **place))

    plane.store.run(make)
    for member in members:
        plane.set_node(member.node_id, score=900)


def report(port: int = 51820) -> bytes:
    key = X25519PrivateKey.generate().public_key().public_bytes_raw()
    return encode(DataPlaneReport(wireguard_public=key, wireguard_port=port))


def test_a_peer_is_told_of_and_nobody_else(plane: Plane) -> None:
    one, two, outsider = (plane.node(name) for name in ("map-one", "map-two", "map-outsider"))
    network(plane, "mapped", one, two)
    assert one.request("PUT", "/v1/data-plane", report()).status_code == 200
    answer = two.get("/v1/mapping/mapped/10.7.0.1")
    assert answer.status_code == 200
    found = decode(answer.content, MappingAnswer)
    assert (found.peer.name, found.peer.wireguard_port, found.version) == ("map-one", 51820, 3)
    for asking, path in ((outsider, "mapped/10.7.0.1"), (two, "mapped/10.7.0.9"), (two, "other/10.7.0.1")):
        refused = asking.get(f"/v1/mapping/{path}")
        assert (refused.status_code, decode(refused.content, Problem).code) == (404, ErrorCode.NOT_FOUND)


def test_a_stranger_neither_tells_nor_learns(plane: Plane) -> None:
    stranger = plane.stranger()
    assert stranger.request("PUT", "/v1/data-plane", report()).status_code == 401
    assert stranger.get("/v1/mapping/mapped/10.7.0.1").status_code == 401


def test_a_node_that_reports_ever_again_is_slowed_down(plane: Plane) -> None:
    """Every change of a report costs every peer a delivery."""
    node = plane.node("map-noisy")
    statuses = [node.request("PUT", "/v1/data-plane", report(port)).status_code for port in range(1, 13)]
    assert statuses[:10] == [200] * 10
    assert statuses[-1] == 429
    assert plane.row(node.node_id).wireguard_port <= 11


def test_what_is_no_report_is_refused(plane: Plane) -> None:
    node = plane.node("map-garbage")
    for body in (b"", b"[]", b'{"wireguard_port": 70000}', b'{"colour": 1}', b'{"endpoint": "host.example"}'):
        assert node.request("PUT", "/v1/data-plane", body).status_code == 400, body
