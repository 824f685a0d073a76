"""Persons of an identity provider among the other operators: limited, two of them for what weighs, shut out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from authority.config import OidcProvider
from authority.oidc import people
from authority.operators import create_operator_token, is_in_force, revoke_every_token
from authority.planes.gate import OperatorLimits
from authority.planes.limits import RateLimit
from authority.roles import Scope
from authority.store import schema
from authority.trust import default_policy
from authority.trust.policy import ApprovalRules, Policy
from tests.authority.oidc.forge import Documents, chosen, token
from tests.authority.oidc.site import NETWORK, ask, open_site, status
from tests.authority.planes.operator_site import OperatorSite
from tests.authority.planes.test_open_api import add_node

TWO = msgspec.structs.replace(default_policy(), approvals=ApprovalRules(persons=2))
ANN, BOB = "oidc:corp/ann", "oidc:corp/bob"


def opened(
    folder: Path, policy: Policy | None = TWO, documents: Documents | None = None, **options: Any
) -> OperatorSite:
    provider: OidcProvider = options.pop("provider", chosen())
    return open_site(folder, provider, (documents or Documents()).make, policy, **options)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorSite]:
    site = opened(tmp_path_factory.mktemp("people"))
    yield site
    site.store.close()


@pytest.fixture
def site(shared: OperatorSite) -> OperatorSite:
    shared.store.run(lambda conn: conn.execute(schema.oidc_person.delete()) and None)
    return shared


def fresh(site: OperatorSite, subject: str = "ann", group: str = "vigil-operators", lasts_s: float = 300) -> str:
    now = site.clock[0]
    return token(sub=subject, iat=now, exp=now + lasts_s, groups=[group])


def stands(site: OperatorSite, name: str) -> bool:
    return site.store.run(lambda conn: is_in_force(conn, name, site.clock[0], site.clock[0]))


def person(site: OperatorSite, name: str) -> dict[str, Any]:
    listed = {each["name"]: each for each in site.ask("GET", "/v1/persons", "auditor").json()}
    found: dict[str, Any] = listed[name]
    return found


def test_two_persons_ban_a_node(site: OperatorSite) -> None:
    add_node(site, "n1")
    asked = ask(site, fresh(site), "POST", "/v1/nodes/n1/ban", json={"reason": "stolen"})
    where = f"{asked.headers['location']}/approve"
    assert asked.status_code == 202
    assert ask(site, fresh(site), "POST", where, json={}).status_code == 403
    site.clock[0] += 3600  # the first token is long over: the order stands, for the person was seen today
    assert ask(site, fresh(site, "bob"), "POST", where, json={}).json() == {"ok": True}
    assert site.audits("approval-requested")[-1] == ANN and site.audits("approval-approved")[-1] == BOB
    assert site.ask("GET", "/v1/nodes/n1").json()["state"] == "banned"


@pytest.mark.parametrize("end", ["absence", "shutting out", "restore"])
def test_an_order_does_not_outlive_the_standing_of_whoever_gave_it(site: OperatorSite, end: str) -> None:
    name = f"n-{end[:5]}"
    add_node(site, name)
    asked = ask(site, fresh(site), "POST", f"/v1/nodes/{name}/ban", json={"reason": "stolen"})
    assert stands(site, ANN)  # the control
    if end == "absence":
        site.clock[0] += 8 * 3600
    elif end == "shutting out":
        assert site.ask("POST", "/v1/persons/shut-out", json={"name": ANN}).status_code == 200
    else:
        site.store.run(
            lambda conn: conn.execute(update(schema.oidc_person).values(stands_until=site.clock[0])) and None
        )
    refused = ask(site, fresh(site, "bob"), "POST", f"{asked.headers['location']}/approve", json={})
    assert refused.status_code == 409
    assert ("is rejected" if end == "shutting out" else "no longer good") in refused.json()["detail"]


def test_a_restore_ends_what_persons_ordered(tmp_path: Path) -> None:
    site = opened(tmp_path)
    assert status(site, fresh(site)) == 200 and stands(site, ANN)
    site.store.run(lambda conn: revoke_every_token(conn, site.clock[0]))
    assert not stands(site, ANN)
    assert status(site, fresh(site)) == 200  # the provider's word is as good as before
    assert stands(site, ANN)
    site.store.close()


def test_votes_on_the_brake_are_a_persons(site: OperatorSite) -> None:
    for subject in ("ann", "ann", "bob"):
        voted = ask(site, fresh(site, subject), "POST", "/v1/brake/hold", json={"reason": "seen"})
        assert voted.status_code == 200
        assert voted.json()["engaged"] is (subject == "bob")


def test_what_was_ordered_and_voted_before_being_shut_out_does_not_come_back_with_the_person(
    site: OperatorSite,
) -> None:
    add_node(site, "n-back")
    site.store.run(lambda conn: conn.execute(schema.brake.delete()) and None)
    asked = ask(site, fresh(site), "POST", "/v1/nodes/n-back/ban", json={"reason": "stolen"})
    ask(site, fresh(site), "POST", "/v1/brake/hold", json={"reason": "seen"})
    for verb in ("shut-out", "readmit"):
        assert site.ask("POST", f"/v1/persons/{verb}", json={"name": ANN}).status_code == 200
    assert status(site, fresh(site)) == 200 and stands(site, ANN)
    refused = ask(site, fresh(site, "bob"), "POST", f"{asked.headers['location']}/approve", json={})
    assert refused.status_code == 409 and "is rejected" in refused.json()["detail"]
    assert ask(site, fresh(site, "bob"), "POST", "/v1/brake/hold", json={}).json()["engaged"] is False
    again = ask(site, fresh(site), "POST", "/v1/brake/hold", json={"reason": "seen"})
    assert again.json()["engaged"] is True  # the control


def test_whoever_is_shut_out_stays_out_until_readmitted(site: OperatorSite) -> None:
    assert status(site, fresh(site)) == 200
    assert site.ask("POST", "/v1/persons/shut-out", json={"name": ANN}).json() == {"ok": True}
    refused = ask(site, fresh(site))
    assert (refused.status_code, "shut out" in refused.json()["detail"]) == (403, True)
    assert (person(site, ANN)["state"], person(site, ANN)["shut_out_by"]) == ("shut-out", "admin")
    assert status(site, fresh(site, "bob")) == 200
    assert site.ask("POST", "/v1/persons/readmit", json={"name": ANN}).json() == {"ok": True}
    assert not stands(site, ANN)
    assert status(site, fresh(site)) == 200
    assert site.audits("oidc-person-shut-out") and site.audits("oidc-person-readmitted")[-1] == "admin"


@pytest.mark.parametrize("verb", ["shut-out", "readmit"])
def test_of_persons_who_are_not_there_nothing_is_done(site: OperatorSite, verb: str) -> None:
    assert site.ask("POST", f"/v1/persons/{verb}", json={"name": "oidc:corp/none"}).status_code == 404
    assert ask(site, fresh(site), "POST", f"/v1/persons/{verb}", json={"name": BOB}).status_code == 403


def test_tokens_of_a_person_end_when_they_are_shut_out(site: OperatorSite) -> None:
    """They were the way back in: Ann's token went on approving, in the name of somebody who is shut out."""
    assert status(site, fresh(site)) == 200
    rt = site.runtime
    for name, identity in (("ann-cli", ANN), ("bob-cli", BOB)):
        given = (rt, name, [Scope.ADMIN], 3600.0, identity)
        site.tokens[name] = site.store.run(lambda conn, given=given: create_operator_token(conn, *given))
    oneself = site.ask("POST", "/v1/persons/shut-out", "ann-cli", json={"name": ANN})
    assert (oneself.status_code, site.ask("GET", "/v1/nodes", "ann-cli").status_code) == (409, 200)
    assert site.ask("POST", "/v1/persons/shut-out", json={"name": ANN}).status_code == 200
    assert site.ask("GET", "/v1/nodes", "ann-cli").status_code == 401
    assert site.ask("GET", "/v1/nodes", "bob-cli").status_code == 200  # the control


def test_nobody_shuts_themselves_out(site: OperatorSite) -> None:
    admin = fresh(site, group="vigil-admins")
    assert ask(site, admin, "POST", "/v1/persons/shut-out", json={"name": ANN}).status_code == 409


def test_a_role_that_changed_is_noticed_and_audited(site: OperatorSite) -> None:
    before = len(site.audits("oidc-person"))
    for group in ("vigil-operators", "vigil-operators", "vigil-viewers"):
        assert status(site, fresh(site, group=group)) == 200
    assert len(site.audits("oidc-person")) == before + 2
    assert person(site, ANN)["scopes"] == ["read"]
    refused = ask(site, fresh(site, group="vigil-viewers"), "POST", "/v1/networks", json=NETWORK)
    assert refused.status_code == 403


def test_the_full_subject_is_in_the_audit_log(site: OperatorSite) -> None:
    subject = "a" * 200
    assert status(site, fresh(site, subject)) == 200
    rows = site.store.run(lambda conn: conn.scalars(select(schema.audit.c.data)).all())
    assert any(subject in row for row in rows)


def test_a_person_is_noted_once_a_minute(site: OperatorSite) -> None:
    assert status(site, fresh(site)) == 200
    seen = person(site, ANN)["seen_at"]
    site.clock[0] += people.NOTED_S - 1
    assert status(site, fresh(site)) == 200 and person(site, ANN)["seen_at"] == seen
    site.clock[0] += 1
    assert status(site, fresh(site)) == 200 and person(site, ANN)["seen_at"] == site.clock[0]


def test_a_key_for_sending_again_is_a_persons_own(site: OperatorSite) -> None:
    key = {"idempotency-key": "one"}
    first = ask(site, fresh(site), "POST", "/v1/networks", headers=key, json={"name": "net-1"})
    again = ask(site, fresh(site), "POST", "/v1/networks", headers=key, json={"name": "net-1"})
    other = ask(site, fresh(site, "bob"), "POST", "/v1/networks", headers=key, json={"name": "net-1"})
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 409)


def test_a_person_is_limited_as_one_whatever_the_token(tmp_path: Path) -> None:
    limits = OperatorLimits(RateLimit(burst=2, rate=0.5), RateLimit(burst=2, rate=0.5))
    site = opened(tmp_path, limits=limits)
    assert [status(site, fresh(site, lasts_s=100 + more)) for more in range(3)] == [200, 200, 429]
    assert status(site, fresh(site, "bob")) == 200
    forged = fresh(site)[:-8] + "AAAAAAAA"
    assert [status(site, forged) for _ in range(3)] == [401, 401, 429]
    site.store.close()


def test_without_the_provider_local_tokens_work_and_others_are_told(tmp_path: Path) -> None:
    documents = Documents()
    documents.found.clear()
    site = opened(tmp_path, documents=documents)
    told = ask(site, fresh(site))
    assert (told.status_code, told.json()["code"], told.headers["retry-after"]) == (503, "unavailable", "10")
    assert "token create" in told.json()["remedy"]
    assert site.ask("GET", "/v1/nodes", "viewer").status_code == 200
    site.store.close()
