"""What is answered is what is described: every list and view of an authority that has something of everything."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Connection, insert

from authority import driver_followers, fleet_orders, groups, orders, references, results
from authority.alerts import raise_alert, refusals
from authority.oidc import people
from authority.oidc.claims import Person
from authority.orders import Action, Order
from authority.planes.described import declared_answer, operator_routes
from authority.roles import Scope
from authority.store import schema, schema_api
from tests.authority.planes.operator_site import OperatorSite, open_operator_site
from tests.authority.planes.test_open_api import add_node
from tests.authority.world import tpm2b_public

DEVICE = {
    "kind": "camera",
    "driver": "opencv",
    "driver_sha256": "0" * 64,
    "transport": "usb",
    "port": "1-2",
    "vendor_id": "046d",
    "product_id": "0825",
    "serial": "1",
}
PLACES = {"{name}": "n1", "{value_id}": "1", "{seq}": "1", "{approval_id}": "1", "{challenge_id}": "c1"}


def populate(site: OperatorSite) -> None:
    """A node with a profile, a challenge, a presentation and signals; a network, a group, an alert, an order."""
    now = site.clock[0]
    key = tpm2b_public(ec.generate_private_key(ec.SECP256R1()).public_key())
    node_id = add_node(site, "n1", devices=json.dumps([DEVICE]), last_seen_at=now, delivery_public=key)
    for path, body in (
        ("/v1/networks", {"name": "prod"}),
        ("/v1/networks/prod/members", {"node": "n1", "address": "10.7.0.1"}),
        ("/v1/groups", {"name": "rack", "sensor_node": "n1"}),
    ):
        answer = site.ask("POST", path, json=body)
        assert answer.status_code == 201, answer.text
    report = {"source": "tap", "node": "n1", "kind": "flood", "severity": "low", "confidence": 500, "ttl": 3600.0}
    told = site.ask("POST", "/v1/signals", json=report | {"observed_at": now, "ref": "1"})
    assert told.status_code == 200, told.text
    site.store.run(lambda conn: fill(conn, site, node_id, now))


def fill(conn: Connection, site: OperatorSite, node_id: str, now: float) -> None:
    conn.execute(insert(schema.administrator).values(name="ada", created_at=now))
    models = [{"modality": "face", "model": "m", "parameters": "1"}]
    times = {"created_at": now, "expires_at": now + 600}
    who = {"record_id": "r1", "enrolment_id": "e1", "node_id": node_id, "admin": "ada", "state": "pending"}
    secrets = {"nonce": b"", "release_share": b"", "modalities": json.dumps(models)}
    conn.execute(insert(schema.profile).values(**who, **secrets, **times))
    challenge = {"id": "c1", "node_id": node_id, "epoch": 1, "state": "summoned", "reason": "scheduled"}
    conn.execute(insert(schema.challenge).values(**challenge, summoned_at=now, expires_at=now + 900))
    references.note_candidate(conn, row_of(conn, node_id), references.Kind.PCRS, {"0": "00"}, now)
    raise_alert(conn, "warning", "test", node_id, "text", {"some": "data"}, now)
    groups.listing(conn)
    driver_followers.allow(conn, "0" * 64, "1" * 64, "upgrade", "operator", now)
    results.publish(conn, site.runtime, node_id, results.Cause.STANDING, now)
    people.admit(conn, Person("oidc:corp/ann", "corp", "ann", frozenset({Scope.READ}), now + 60), now)
    fleet_orders.begin(conn, fleet_orders.Kind.REVOKE, "ada", "operator", "left", 3, now)
    refusals.note(conn, "siem", 1, "answered 413", now)
    asked = Order(Action.NODE_BAN, "n1", {"node_id": node_id}, "stolen")
    row = {"action": asked.action.value, "target": asked.target, "arguments": json.dumps(asked.arguments)}
    who_asked = {"requested_by": "operator", "reason": "stolen", "requested_at": now, "expires_at": now + 3600}
    conn.execute(insert(schema_api.approval).values(**row, **who_asked, state=orders.OrderState.OPEN.value))


def row_of(conn: Connection, node_id: str) -> Any:
    return conn.execute(schema.node.select().where(schema.node.c.id == node_id)).one()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorSite]:
    opened = open_operator_site(tmp_path_factory.mktemp("answers"))
    populate(opened)
    yield opened
    opened.store.close()


def test_every_view_is_as_described_with_nothing_more_and_nothing_less(site: OperatorSite) -> None:
    empty = []
    for route in operator_routes(site.app):
        if "GET" not in (route.methods or ()) or route.path == "/v1/challenges/{challenge_id}/evidence":
            continue
        path = route.path
        for name, value in PLACES.items():
            path = path.replace(name, value)
        answer = site.ask("GET", path, params={"from": "1", "to": "1"} if "consistency" in path else None)
        assert answer.status_code == 200, (path, answer.text)
        same(answer.json(), declared_answer(route.endpoint), path)
        empty += [path] if answer.json() == [] else []
    assert sorted(empty) == ["/v1/alert-destinations", "/v1/result-subscribers", "/v1/stale"]


def same(answer: Any, kind: Any, where: str) -> None:
    assert msgspec.json.decode(msgspec.json.encode(msgspec.convert(answer, kind))) == answer, where


@pytest.mark.parametrize("wrong", [{"ok": True, "connected": 1, "more": 1}, {"ok": True}, {"ok": 1, "connected": 1}])
def test_what_is_not_as_described_is_noticed(site: OperatorSite, wrong: dict[str, Any]) -> None:
    route = next(each for each in operator_routes(site.app) if each.path == "/v1/health")
    with pytest.raises((AssertionError, msgspec.ValidationError)):
        same(wrong, declared_answer(route.endpoint), "/v1/health")


def test_the_clock_of_these_tests_stands(site: OperatorSite) -> None:
    assert site.runtime.now() == site.clock[0] <= time.time()
