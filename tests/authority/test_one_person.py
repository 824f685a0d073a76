"""Attacks of one person who holds two credentials on orders and votes that are two persons'; see decision 0082."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from authority import braking
from authority.operators import create_operator_token
from authority.refusal import Refused
from authority.roles import Role, Scope
from authority.trust import default_policy
from authority.trust.brake import BrakeDecision
from authority.trust.policy import ApprovalRules
from tests.authority.planes.operator_site import OperatorSite, open_operator_site
from tests.authority.planes.test_open_api import add_node
from tests.authority.world import World, open_world

TWO = msgspec.structs.replace(default_policy(), approvals=ApprovalRules(persons=2))
APPROVER = [Scope.OPERATE, Scope.APPROVE]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[OperatorSite]:
    opened = open_operator_site(tmp_path, TWO)
    add_node(opened, "n1")
    yield opened
    opened.store.close()


def put(site: OperatorSite, name: str, identity: str = "") -> None:
    """A token of an operator, as the store has it since whenever it was made."""
    rt = site.runtime
    text = site.store.run(lambda conn: create_operator_token(conn, rt, name, APPROVER, 86400.0, identity))
    site.tokens[name] = text


def ban(site: OperatorSite, name: str) -> str:
    asked = site.ask("POST", "/v1/nodes/n1/ban", name, json={"reason": "stolen"})
    assert asked.status_code == 202
    return str(asked.headers["location"])


def state(site: OperatorSite) -> str:
    return str(site.ask("GET", "/v1/nodes/n1").json()["state"])


@pytest.mark.parametrize(("asks", "approves"), [("plain", "spare"), ("plain", "ann"), ("ann", "plain")])
def test_nobody_approves_their_own_order_by_a_token_that_names_nobody(
    site: OperatorSite, asks: str, approves: str
) -> None:
    put(site, "ann", "person:ann")
    put(site, "plain")
    put(site, "spare")
    refused = site.ask("POST", f"{ban(site, asks)}/approve", approves, json={})
    assert refused.status_code == 403 and "nobody said whose" in refused.json()["detail"]
    assert state(site) == "active"
    put(site, "bob", "person:bob")
    assert site.ask("POST", f"{ban(site, 'ann')}/approve", "bob", json={}).status_code == 200  # the control
    assert state(site) == "banned"


@pytest.mark.parametrize("scope", ["operate", "approve", "admin"])
def test_no_administrator_makes_a_puppet_that_asks_or_approves(site: OperatorSite, scope: str) -> None:
    """A token that may only operate was one person's: it asked, and whoever had made it approved."""
    body: dict[str, Any] = {"name": "puppet", "scopes": [scope], "sha256": hashlib.sha256(b"kvo1.puppet").hexdigest()}
    nameless = site.ask("POST", "/v1/tokens", json=body)
    assert nameless.status_code == 422 and "person:NAME" in nameless.json()["remedy"]
    assert site.ask("POST", "/v1/tokens", json=body | {"identity": "person:puppet"}).status_code == 202
    site.tokens["puppet"] = "kvo1.puppet"
    assert site.ask("GET", "/v1/nodes", "puppet").status_code == 401
    assert site.ask("POST", "/v1/tokens", json={"name": "eyes", "role": "viewer"}).status_code == 201  # the control


def test_whose_a_token_is_two_persons_say_and_only_once(site: OperatorSite) -> None:
    put(site, "plain")
    body = {"identity": "person:puppet"}
    asked = site.ask("POST", "/v1/tokens/plain/identity", json=body)
    assert asked.status_code == 202
    where = f"{asked.headers['location']}/approve"
    assert site.ask("POST", where, json={}).status_code == 403
    site.token("second", [Scope.ADMIN])
    assert site.ask("POST", where, "second", json={}).status_code == 200
    again = site.ask("POST", "/v1/tokens/plain/identity", json={"identity": "person:other"})
    assert again.status_code == 409 and "person:puppet already" in again.json()["detail"]
    assert site.audits("operator-token-identity") == [Role.ADMIN]


def test_a_name_for_which_two_persons_waited_is_not_given_to_another_token(site: OperatorSite) -> None:
    put(site, "plain")
    asked = site.ask("POST", "/v1/tokens/plain/identity", json={"identity": "person:bob"})
    site.clock[0] += 1
    assert site.ask("POST", "/v1/tokens/plain/revoke", json={}).status_code == 200
    put(site, "plain")
    site.token("second", [Scope.ADMIN])
    refused = site.ask("POST", f"{asked.headers['location']}/approve", "second", json={})
    assert refused.status_code == 409 and "another than it was" in refused.json()["detail"]


def test_an_order_is_not_taken_over_by_a_later_token_of_the_name(site: OperatorSite) -> None:
    """Ann asks by a token that ends; another person's gets its name; Ann approves what that person never asked for."""
    put(site, "desk", "person:ann")
    put(site, "ann", "person:ann")
    where = ban(site, "desk")
    site.clock[0] += 1
    assert site.ask("POST", "/v1/tokens/desk/revoke", json={}).status_code == 200
    put(site, "desk", "person:bob")
    refused = site.ask("POST", f"{where}/approve", "ann", json={})
    assert refused.status_code == 409 and "no longer good" in refused.json()["detail"]
    assert state(site) == "active"


@pytest.fixture
def two() -> Iterator[World]:
    with open_world(TWO) as world:
        for name, identity in (("ann", "person:ann"), ("bob", "person:bob"), ("plain", ""), ("spare", "")):
            create_operator_token(world.conn, world.rt, name, APPROVER, 86400.0, identity)
        yield world


def vote(world: World, name: str) -> bool:
    return bool(braking.vote(world.conn, world.rt, BrakeDecision.HOLD, name, "", world.clock)["engaged"])


def test_tokens_that_name_nobody_do_not_vote_where_two_persons_are_asked_for(two: World) -> None:
    for name in ("plain", "spare"):
        with pytest.raises(Refused, match="nobody said whose"):
            vote(two, name)
    assert [vote(two, "ann"), vote(two, "ann"), vote(two, "bob")] == [False, False, True]  # the control


def test_votes_from_before_the_policy_asked_for_two_persons_count_by_the_person(two: World) -> None:
    one = msgspec.structs.replace(TWO, approvals=ApprovalRules(persons=1))
    two.policy = one
    assert vote(two, "plain") is False
    two.policy = TWO
    assert vote(two, "ann") is False  # two credentials, of which one may be Ann's as well
    two.policy = one
    assert vote(two, "spare") is True  # the control: a site of one person has no second to tell apart
