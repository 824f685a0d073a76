"""The open API as its users meet it: problems everywhere, pages, keys for sending again, limits, two persons."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select

from authority import repeating
from authority.planes.gate import OperatorLimits
from authority.planes.limits import RateLimit
from authority.planes.problems import MEDIA_TYPE
from authority.roles import Scope
from authority.store import Store, schema, schema_api
from authority.trust import default_policy
from authority.trust.policy import ApprovalRules
from protocol.codec import decode
from protocol.problems import Problem
from tests.authority.planes.operator_site import OperatorSite, open_operator_site

KEY = {"idempotency-key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
TWO = msgspec.structs.replace(default_policy(), approvals=ApprovalRules(persons=2))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[OperatorSite]:
    opened = open_operator_site(tmp_path)
    yield opened
    opened.store.close()


def add_node(site: OperatorSite, name: str, **values: Any) -> str:
    return insert_node(site.store, name, site.clock[0], **values)


def insert_node(store: Store, name: str, now: float, **values: Any) -> str:
    node_id = hashlib.sha256(name.encode()).hexdigest()
    row = {"id": node_id, "name": name, "state": "active", "lab": False, "joined_at": now}
    keys = {"ek_public": b"", "ak_public": b"", "delivery_public": b"", "reference_pcrs": "{}", "devices": "[]"}
    cert = {"certificate_sha256": "", "certificate_not_after": 0.0}
    made = insert(schema.node).values(**(row | keys | cert | values))
    store.run(lambda conn: conn.execute(made) and None)
    return node_id


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/nodes/nobody", 404),
        ("DELETE", "/v1/nodes", 405),
        ("GET", "/v1/nodes?limit=0", 422),
        ("GET", "/v1/alerts?after=99999999999999999999", 422),
        ("POST", "/v1/networks", 422),
        ("GET", "/v1/nodes?state=unheard-of", 422),
    ],
)
def test_whatever_is_refused_is_a_problem(site: OperatorSite, method: str, path: str, status: int) -> None:
    answer = site.ask(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    assert decode(answer.content, Problem).status == status


def test_a_body_that_is_no_json_is_a_problem_for_operators_and_nobody_else(site: OperatorSite) -> None:
    headers = {"content-type": "application/json"}
    assert site.ask("POST", "/v1/networks", headers=headers, content=b"{").status_code == 422
    assert site.ask("POST", "/v1/networks", None, headers=headers, content=b"{").status_code == 401


def test_a_page_leads_to_the_next_until_everything_was_shown(site: OperatorSite) -> None:
    names = [f"n{number}" for number in range(5)]
    for name in names:
        add_node(site, name)
    seen, path, pages = [], "/v1/nodes?limit=2", 0
    while path:
        answer = site.ask("GET", path)
        assert len(answer.json()) <= 2
        seen += [each["name"] for each in answer.json()]
        path, pages = answer.links.get("next", {}).get("url", ""), pages + 1
    assert (seen, pages) == (names, 3)


def test_a_page_keeps_what_was_asked_for(site: OperatorSite) -> None:
    for number in range(6):
        add_node(site, f"n{number}", state="banned" if number % 2 else "active")
    first = site.ask("GET", "/v1/nodes?limit=2&state=banned")
    second = site.ask("GET", first.links["next"]["url"])
    assert [each["name"] for each in first.json() + second.json()] == ["n1", "n3", "n5"]


@pytest.mark.parametrize(
    ("query", "names"),
    [("search=ra", ["rack-1"]), ("tier=high", ["good"]), ("lab=true", ["lab-1"]), ("search=%25", [])],
)
def test_nodes_are_filtered(site: OperatorSite, query: str, names: list[str]) -> None:
    add_node(site, "rack-1")
    add_node(site, "good", score=900, tier="high")
    add_node(site, "lab-1", lab=True)
    assert [each["name"] for each in site.ask("GET", f"/v1/nodes?{query}").json()] == names


def test_a_request_that_is_sent_again_is_carried_out_once(site: OperatorSite) -> None:
    first = site.ask("POST", "/v1/networks", headers=KEY, json={"name": "prod"})
    again = site.ask("POST", "/v1/networks", headers=KEY, json={"name": "prod"})
    assert (first.status_code, again.status_code) == (201, 201) and again.json() == first.json()
    assert "idempotency-replayed" in again.headers and "idempotency-replayed" not in first.headers
    assert site.audits("network") == ["admin"]


def test_without_a_key_it_is_carried_out_again(site: OperatorSite) -> None:
    """The control: a second network of a name is refused."""
    assert site.ask("POST", "/v1/networks", json={"name": "prod"}).status_code == 201
    assert site.ask("POST", "/v1/networks", json={"name": "prod"}).status_code == 409


def test_a_key_is_for_one_request_and_one_caller(site: OperatorSite) -> None:
    site.ask("POST", "/v1/networks", headers=KEY, json={"name": "prod"})
    assert site.ask("POST", "/v1/networks", headers=KEY, json={"name": "test"}).status_code == 422
    assert site.ask("POST", "/v1/networks", "operator", headers=KEY, json={"name": "test"}).status_code == 201


def test_a_key_gives_nobody_what_they_may_not(site: OperatorSite) -> None:
    site.ask("POST", "/v1/networks", headers=KEY, json={"name": "prod"})
    assert site.ask("POST", "/v1/networks", "viewer", headers=KEY, json={"name": "prod"}).status_code == 403
    assert site.ask("POST", "/v1/networks", None, headers=KEY, json={"name": "prod"}).status_code == 401


def test_what_was_refused_may_be_sent_again(site: OperatorSite) -> None:
    assert site.ask("POST", "/v1/nodes/n1/isolate", headers=KEY, json={}).status_code == 404
    add_node(site, "n1")
    assert site.ask("POST", "/v1/nodes/n1/isolate", headers=KEY, json={}).status_code == 200


def test_an_answer_with_a_secret_is_not_kept(site: OperatorSite) -> None:
    made = site.ask("POST", "/v1/tokens", headers=KEY, json={"name": "t", "role": "viewer"})
    again = site.ask("POST", "/v1/tokens", headers=KEY, json={"name": "t", "role": "viewer"})
    assert (made.status_code, again.status_code) == (201, 409)
    rows = site.store.run(lambda conn: conn.execute(select(schema_api.repeatable)).all())
    assert made.json()["token"] not in str(rows)


def test_a_request_whose_end_is_not_known_is_not_repeated(site: OperatorSite) -> None:
    what = repeating.repeatable("admin", KEY["idempotency-key"], "POST", "/v1/networks?", b'{"name":"prod"}')
    site.store.run(lambda conn: repeating.claim(conn, what, site.clock[0]))
    answer = site.ask("POST", "/v1/networks", headers=KEY, json={"name": "prod"})
    assert (answer.status_code, site.audits("network")) == (409, [])


def test_keys_are_forgotten_in_time_and_bounded(site: OperatorSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "MOST_KEYS", 1)
    body = {"json": {"name": "prod"}}
    assert site.ask("POST", "/v1/networks", headers=KEY, **body).status_code == 201
    refused = site.ask("POST", "/v1/networks", headers={"idempotency-key": "other"}, **body)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
    site.clock[0] += repeating.KEPT_S
    assert site.ask("POST", "/v1/networks", headers=KEY, **body).status_code == 409  # carried out, and refused


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "ü"])
def test_what_is_no_key_is_refused(site: OperatorSite, key: str) -> None:
    headers = {"idempotency-key": key.encode("latin-1")}
    answer = site.ask("POST", "/v1/networks", headers=headers, json={"name": "prod"})  # type: ignore[arg-type]
    assert answer.status_code == 400


def test_an_operator_who_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    limits = OperatorLimits(RateLimit(burst=2, rate=0.5), RateLimit(burst=2, rate=0.5))
    site = open_operator_site(tmp_path, limits=limits)
    assert [site.ask("GET", "/v1/nodes").status_code for _ in range(3)] == [200, 200, 429]
    assert site.ask("GET", "/v1/nodes").headers["retry-after"] == "2"
    assert site.ask("GET", "/v1/nodes", "viewer").status_code == 200
    site.clock[0] += 2
    assert site.ask("GET", "/v1/nodes").status_code == 200
    assert [site.ask("GET", "/v1/nodes", None).status_code for _ in range(3)] == [401, 401, 429]
    site.store.close()


def test_tokens_have_roles_and_are_listed_without_what_they_are(site: OperatorSite) -> None:
    made = site.ask("POST", "/v1/tokens", json={"name": "new", "role": "auditor", "scopes": ["signal"]})
    assert made.json()["scopes"] == ["audit", "read", "signal"]
    listed = site.ask("GET", "/v1/tokens", "auditor")
    assert "new" in {each["name"] for each in listed.json()}
    assert made.json()["token"] not in listed.text
    assert site.ask("POST", "/v1/tokens", json={"name": "none"}).status_code == 422


def test_a_token_that_whoever_asks_has_drawn_works(site: OperatorSite) -> None:
    text = "kvo1.drawn-elsewhere"
    body = {"name": "mine", "role": "viewer", "sha256": hashlib.sha256(text.encode()).hexdigest()}
    assert "token" not in site.ask("POST", "/v1/tokens", json=body).json()
    site.tokens["mine"] = text
    assert site.ask("GET", "/v1/nodes", "mine").status_code == 200
    assert site.ask("POST", "/v1/tokens", json=body | {"name": "again"}).status_code == 409


def test_two_persons_ban_a_node(tmp_path: Path) -> None:
    site = open_operator_site(tmp_path, TWO)
    add_node(site, "n1")
    site.token("second", {Scope.OPERATE, Scope.APPROVE})
    asked = site.ask("POST", "/v1/nodes/n1/ban", "operator", json={"reason": "stolen"})
    assert (asked.status_code, asked.json()["ok"]) == (202, False)
    where = asked.headers["location"]
    assert site.ask("GET", where, "viewer").json()["target"] == "n1"
    assert site.ask("POST", f"{where}/approve", "operator", json={}).status_code == 403
    assert site.ask("GET", "/v1/nodes/n1").json()["state"] == "active"
    assert site.ask("POST", f"{where}/approve", "second", json={}).json() == {"ok": True}
    assert site.ask("GET", "/v1/nodes/n1").json()["state"] == "banned"
    assert site.audits("approval-approved") == ["second"]
    site.store.close()


def test_nobody_makes_the_second_operator_alone(tmp_path: Path) -> None:
    """A token that may approve, or may do everything, is itself an order for two, and the second never sees it."""
    site = open_operator_site(tmp_path, TWO)
    site.token("second", {Scope.ADMIN})
    for role in ("operator", "admin"):
        body = {"name": "puppet", "role": role, "identity": "person:puppet"}
        assert site.ask("POST", "/v1/tokens", json=body).status_code == 422
    text = "kvo1.puppet"
    body = {"name": "puppet", "role": "operator", "sha256": hashlib.sha256(text.encode()).hexdigest()}
    body |= {"identity": "person:puppet"}
    asked = site.ask("POST", "/v1/tokens", json=body)
    site.tokens["puppet"] = text
    assert asked.status_code == 202 and site.ask("GET", "/v1/nodes", "puppet").status_code == 401
    assert site.ask("POST", f"{asked.headers['location']}/approve", "second", json={}).status_code == 200
    assert site.ask("GET", "/v1/nodes", "puppet").status_code == 200
    assert site.ask("POST", "/v1/tokens", json={"name": "tap-2", "role": "tap"}).status_code == 201
    assert json.dumps(text) not in asked.text
    site.store.close()
