"""Many at once over the open API: tokens and tickets all or none, a person revoked everywhere, rosters in pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import func, insert, select, update

from authority import enrolling
from authority.bulk import MOST_TICKETS, MOST_TOKENS
from authority.refusal import Refused
from authority.store import schema
from protocol.messages import EnrolStart
from protocol.tokens import parse_join_token
from tests.authority.planes.operator_site import OperatorSite, open_operator_site
from tests.authority.planes.test_open_api import add_node
from tests.authority.world import tpm2b_public

KEY = {"idempotency-key": '"3c0f6dd1-7a51-4f5c-9d5c-2f3c62b0a6c4"'}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[OperatorSite]:
    opened = open_operator_site(tmp_path)
    yield opened
    opened.store.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorSite]:
    """Nodes and people that no test changes."""
    opened = open_operator_site(tmp_path_factory.mktemp("fleet"))
    first = add_node(opened, "n1", last_seen_at=99.0)
    second = add_node(opened, "n2", state="banned")
    add_node(opened, "n3", last_seen_at=100.0)
    add_node(opened, "gone", state="retired", last_seen_at=100.0)
    add_profile(opened, "r1", "ada", first)
    add_profile(opened, "r2", "bob", second)
    add_profile(opened, "r3", "bob", first, "revoked")
    add_profile(opened, "r4", "eve", first, "revoked")
    revoked = update(schema.administrator).where(schema.administrator.c.name == "eve").values(revoked_at=5.0)
    opened.store.run(lambda conn: conn.execute(revoked) and None)
    yield opened
    opened.store.close()


def add_profile(site: OperatorSite, record: str, admin: str, node_id: str, state: str = "active") -> None:
    row = {"record_id": record, "enrolment_id": record, "node_id": node_id, "admin": admin, "state": state}
    more = {"nonce": b"", "release_share": b"", "modalities": json.dumps([{"modality": "face"}])}
    times = {"created_at": 1.0, "expires_at": 2.0}
    person = schema.administrator

    def add(conn: Any) -> None:
        if conn.scalar(select(person.c.name).where(person.c.name == admin)) is None:
            conn.execute(insert(person).values(name=admin, created_at=1.0))
        conn.execute(insert(schema.profile).values(**row, **more, **times))

    site.store.run(add)


def count(site: OperatorSite, table: Any) -> int:
    return site.store.run(lambda conn: conn.execute(select(func.count()).select_from(table)).scalar_one())


def test_many_tokens_are_made_and_each_is_good_for_its_name(site: OperatorSite) -> None:
    wanted = [{"name": f"rack1-{number:02d}", "lab": number == 3} for number in range(1, 6)]
    answer = site.ask("POST", "/v1/join-tokens/bulk", "operator", json={"nodes": wanted})
    assert answer.status_code == 201
    made = answer.json()
    assert [each["name"] for each in made] == [each["name"] for each in wanted]
    row = schema.join_token
    for each, asked in zip(made, wanted, strict=True):
        lookup = parse_join_token(each["token"]).lookup
        query = select(row.c.name, row.c.lab).where(row.c.lookup == lookup)
        assert site.store.run(lambda conn, query=query: tuple(conn.execute(query).one())) == (
            asked["name"],
            asked["lab"],
        )
    assert site.audits("join-token") == ["operator"] * 5


BAD_TOKENS = [
    ([{"name": "ok"}, {"name": "Not A Name", "line": 7}], "line 7:"),
    ([{"name": "ok", "line": 2}, {"name": "ok", "line": 3}], "line 3: ok comes twice"),
    ([{"name": "ok"}, {"name": "n1"}], "line 2: there is a node n1 already"),
    ([{"name": f"-{number}"} for number in range(30)], "and 20 more"),
]


@pytest.mark.parametrize(("nodes", "said"), BAD_TOKENS, ids=["name", "twice", "taken", "many"])
def test_a_token_row_at_fault_is_named_and_nothing_is_made(
    fleet: OperatorSite, nodes: list[dict[str, Any]], said: str
) -> None:
    answer = fleet.ask("POST", "/v1/join-tokens/bulk", json={"nodes": nodes})
    assert answer.status_code == 422 and said in answer.json()["detail"]
    assert count(fleet, schema.join_token) == 0 and fleet.audits("join-token") == []


@pytest.mark.parametrize(
    ("path", "name", "row", "most"),
    [
        ("/v1/join-tokens/bulk", "nodes", {"name": "n"}, MOST_TOKENS),
        ("/v1/tickets/bulk", "tickets", {"admin": "ada", "node": "n"}, MOST_TICKETS),
    ],
)
def test_orders_are_bounded(fleet: OperatorSite, path: str, name: str, row: dict[str, Any], most: int) -> None:
    assert fleet.ask("POST", path, json={name: []}).status_code == 422
    assert fleet.ask("POST", path, json={name: [row] * (most + 1)}).status_code == 422


def test_many_tickets_are_made_and_each_is_good_for_its_person_and_node(site: OperatorSite) -> None:
    ids = {name: add_node(site, name, ownership="taken") for name in ("n1", "n2")}
    wanted = [{"admin": "ada", "node": "n1"}, {"admin": "ada", "node": "n2"}, {"admin": "bob", "node": "n2"}]
    answer = site.ask("POST", "/v1/tickets/bulk", json={"tickets": wanted})
    assert answer.status_code == 201 and len({each["pin"] for each in answer.json()}) == 3

    def start(name: str, ticket: dict[str, str]) -> None:
        request = EnrolStart(ticket=ticket["ticket"], pin=ticket["pin"], admin=ticket["admin"])
        node_id, now = ids[name], site.clock[0]
        site.store.run(lambda conn: enrolling.start_enrolment(conn, site.runtime, node_id, request, now))

    first, second, _ = answer.json()
    with pytest.raises(Refused, match="ticket or its PIN"):
        start("n2", first)
    with pytest.raises(Refused, match="ticket or its PIN"):
        start("n1", first | {"pin": second["pin"]})
    key = tpm2b_public(ec.generate_private_key(ec.SECP256R1()).public_key())
    site.store.run(lambda conn: conn.execute(update(schema.node).values(delivery_public=key)) and None)
    start("n1", first)


BAD_TICKETS = [
    ({"admin": "ada", "node": "nowhere", "line": 4}, "line 4: no node named 'nowhere'"),
    ({"admin": "ada", "node": "gone", "line": 4}, "line 4: the node gone is retired"),
    ({"admin": "eve", "node": "n1", "line": 4}, "line 4: the administrator eve is revoked"),
    ({"admin": "new", "node": "n1", "line": 4}, "line 4: new at n1 comes twice"),
    ({"admin": "A!", "node": "n1", "line": 4}, "line 4: 'A!'"),
]


@pytest.mark.parametrize(("row", "said"), BAD_TICKETS)
def test_a_ticket_row_at_fault_is_named_and_nothing_is_made(
    fleet: OperatorSite, row: dict[str, Any], said: str
) -> None:
    rows = [{"admin": "new", "node": "n1", "line": 3}, row]
    answer = fleet.ask("POST", "/v1/tickets/bulk", json={"tickets": rows})
    assert answer.status_code == 422 and said in answer.json()["detail"]
    assert count(fleet, schema.ticket) == 0 and count(fleet, schema.administrator) == 3


def test_a_person_is_revoked_everywhere_once_under_a_key(site: OperatorSite) -> None:
    for name in ("n1", "n2"):
        add_profile(site, f"r-{name}", "ada", add_node(site, name))
    path = "/v1/admins/ada/revoke"
    first = site.ask("POST", path, headers=KEY, json={"reason": "left"})
    again = site.ask("POST", path, headers=KEY, json={"reason": "left"})
    assert first.status_code == 200 and again.json() == first.json()
    assert [(each["node"], each["was"]) for each in first.json()["nodes"]] == [("n1", "active"), ("n2", "active")]
    assert site.audits("administrator-revoked") == ["admin"]
    assert site.ask("POST", "/v1/admins/nobody/revoke", json={}).status_code == 404
    assert site.ask("POST", "/v1/admins/No%20Name/revoke", json={}).status_code == 422
    assert site.ask("POST", "/v1/admins/ada/readmit", json={}).json() == {"ok": True}


def pages(site: OperatorSite, path: str) -> list[Any]:
    found: list[Any] = []
    while path:
        answer = site.ask("GET", path, "auditor")
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        path = answer.links.get("next", {}).get("url", "")
    return found


def test_rosters_come_in_pages_with_everything_once(site: OperatorSite) -> None:
    ids = [add_node(site, f"n{number}") for number in range(5)]
    for number, admin in enumerate(("ada", "bob", "cyd")):
        for node_id in ids[number:]:
            add_profile(site, f"{admin}-{node_id[:8]}", admin, node_id)
    nodes = [each for page in pages(site, "/v1/roster/nodes?limit=2") for each in page]
    assert [each["name"] for each in nodes] == [f"n{number}" for number in range(5)]
    assert [each["administrators"] for each in nodes[:3]] == [["ada"], ["ada", "bob"], ["ada", "bob", "cyd"]]
    people = pages(site, "/v1/roster/administrators?limit=2")
    assert [[each["name"] for each in page] for page in people] == [["ada", "bob"], ["cyd"]]
    assert [len(each["profiles"]) for page in people for each in page] == [5, 4, 3]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=banned", ["n2"]),
        ("search=1", ["n1"]),
        ("unseen_since=100", ["n1", "n2"]),
        ("unseen_since=100&state=active", ["n1"]),
    ],
)
def test_the_roster_of_nodes_is_filtered(fleet: OperatorSite, query: str, names: list[str]) -> None:
    assert [each["name"] for each in fleet.ask("GET", f"/v1/roster/nodes?{query}").json()] == names


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["ada", "bob", "eve"]),
        ("state=revoked", ["eve"]),
        ("state=active", ["ada", "bob"]),
        ("node=n1", ["ada"]),
        ("search=b", ["bob"]),
        ("search=%25", []),
    ],
)
def test_the_roster_of_administrators_is_filtered(fleet: OperatorSite, query: str, names: list[str]) -> None:
    assert [each["name"] for each in fleet.ask("GET", f"/v1/roster/administrators?{query}").json()] == names


def test_the_preview_of_stale_nodes_takes_limits_and_comes_in_pages(site: OperatorSite) -> None:
    now = site.clock[0]
    for name, days in (("n1", 40), ("n2", 20), ("n3", 1)):
        add_node(site, name, last_seen_at=now - days * 86400)
    assert site.ask("GET", "/v1/stale").json() == []
    days = "alert_s=864000&retire_s=2592000"
    found = site.ask("GET", f"/v1/stale?{days}", "viewer").json()
    assert [(each["node"], each["step"], each["silent_s"] / 86400) for each in found] == [
        ("n1", "alert", 40),
        ("n2", "alert", 20),
    ]
    assert [[each["node"] for each in page] for page in pages(site, f"/v1/stale?limit=1&{days}")][:2] == [
        ["n1"],
        ["n2"],
    ]
    alone = site.ask("GET", "/v1/stale?retire_s=2592000").json()
    assert [each["node"] for each in alone] == ["n1"]
