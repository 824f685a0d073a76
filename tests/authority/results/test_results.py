"""Results as rows: issued with what they tell of, listed in pages, kept for a while."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select

from authority import results
from authority.results import Cause
from authority.store import schema
from tests.authority.challenges.ear_form import conforms, verified
from tests.authority.planes.operator_site import OperatorSite, open_operator_site
from tests.authority.planes.test_open_api import add_node


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorSite]:
    site = open_operator_site(tmp_path_factory.mktemp("results"))
    for name in ("n1", "n2"):
        add_node(site, name)
    yield site
    site.store.close()


@pytest.fixture
def site(shared: OperatorSite) -> OperatorSite:
    shared.store.run(lambda conn: conn.execute(schema.attestation_result.delete()) and None)
    return shared


def node_id(site: OperatorSite, name: str) -> str:
    found = select(schema.node.c.id).where(schema.node.c.name == name)
    return str(site.store.run(lambda conn: conn.scalar(found)))


def publish(site: OperatorSite, name: str = "n1") -> None:
    at, node = site.clock[0], node_id(site, name)
    site.store.run(lambda conn: results.publish(conn, site.runtime, node, Cause.STANDING, at))


def listed(site: OperatorSite, query: str = "") -> list[dict[str, Any]]:
    answer = site.ask("GET", f"/v1/attestation-results{query}", "viewer")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_an_order_that_changes_a_node_issues_a_result(site: OperatorSite) -> None:
    assert site.ask("POST", "/v1/nodes/n2/isolate", json={"reason": "seen"}).status_code == 200
    (issued,) = listed(site)
    assert (issued["node"], issued["cause"]) == ("n2", "standing")
    claims = verified(issued["ear"], site.ask("GET", "/v1/jwks").json())
    conforms(claims)
    assert claims["sub"] == issued["node_id"]
    assert claims["submods"]["node"]["ear_status"] == "contraindicated"
    assert claims["submods"]["node"]["ear_verifier_claims"]["keyvigil_state"] == "isolated"


@pytest.mark.parametrize("without", ["key", "keeping"])
def test_where_none_are_made_or_kept_none_are_issued(site: OperatorSite, without: str) -> None:
    rt = site.runtime
    before = rt.ear_key, rt.results_kept_s
    rt.ear_key, rt.results_kept_s = (None, before[1]) if without == "key" else (before[0], 0.0)
    publish(site)
    assert listed(site) == []
    rt.ear_key, rt.results_kept_s = before
    publish(site)
    assert len(listed(site)) == 1  # the control


def test_results_come_in_pages_and_are_chosen(site: OperatorSite) -> None:
    begun = site.clock[0]
    for name in ("n1", "n2", "n1"):
        publish(site, name)
        site.clock[0] += 10
    assert [each["node"] for each in listed(site)] == ["n1", "n2", "n1"]
    assert [each["node"] for each in listed(site, "?node=n2")] == ["n2"]
    assert [each["at"] for each in listed(site, f"?since={begun + 10}")] == [begun + 10, begun + 20]
    first = site.ask("GET", "/v1/attestation-results?limit=2&node=n1")
    then = site.ask("GET", "/v1/attestation-results?limit=1")
    rest = site.ask("GET", then.links["next"]["url"]).json()
    assert len(first.json()) == 2 and rest[0]["id"] == then.json()[0]["id"] + 1


@pytest.mark.parametrize("query", ["since=nan", "since=inf", "since=-1", "after=x", "limit=0"])
def test_what_cannot_be_chosen_by_is_refused(site: OperatorSite, query: str) -> None:
    assert site.ask("GET", f"/v1/attestation-results?{query}").status_code == 422


def test_of_a_node_that_is_not_there_nothing_is_told(site: OperatorSite) -> None:
    assert site.ask("GET", "/v1/attestation-results?node=nobody").status_code == 404


def test_results_are_kept_for_a_while_and_their_ids_never_given_again(site: OperatorSite) -> None:
    publish(site)
    last = listed(site)[-1]["id"]
    site.clock[0] += site.runtime.results_kept_s
    assert site.store.run(lambda conn: results.forget(conn, site.runtime, site.clock[0])) == 0
    site.clock[0] += 1
    assert site.store.run(lambda conn: results.forget(conn, site.runtime, site.clock[0])) == 1
    count = select(func.count()).select_from(schema.attestation_result)
    assert site.store.run(lambda conn: conn.scalar(count)) == 0
    publish(site)
    assert listed(site)[0]["id"] > last
