"""Forms that another site sends are refused, and so is whoever lacks the scope; each beside the form that is taken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute

from authority.console import desk, sessions
from authority.roles import Scope
from authority.store import schema
from tests.authority.console.house import APPROVE, OPERATE, ORIGIN, READ, Browser, House, enrol

FORMS = {
    "/console/nodes/n/challenge": "operate",
    "/console/nodes/n/isolate": "operate",
    "/console/nodes/n/release": "operate",
    "/console/nodes/n/ban": "operate",
    "/console/nodes/n/retire": "operate",
    "/console/alerts/1/acknowledge": "operate",
    "/console/networks/plant/rotation": "operate",
    "/console/networks/plant/emergency": "operate",
    "/console/networks/plant/versions": "operate",
    "/console/profiles/0/approve": "approve",
    "/console/profiles/0/refuse": "approve",
    "/console/references/1/accept": "approve",
    "/console/references/1/reject": "approve",
    "/console/brake/hold": "approve",
    "/console/orders/1/approve": "approve",
    "/console/orders/1/reject": "approve",
    "/console/policy/replay": "read",
    "/console/sign-out": "read",
}
"""Every form of the console with the scope that it needs."""


def changing(house: House) -> set[str]:
    return {
        each.path_format
        for each in house.app.routes
        if isinstance(each, APIRoute) and each.path.startswith("/console") and "POST" in each.methods
    }


@pytest.fixture
def fresh(house: House) -> Iterator[House]:
    """With an active node `n`, as every test finds it."""
    if house.row(schema.node, schema.node.c.name == "n") is None:
        house.node("n")
    house.set_node("n", state="active")
    yield house


def isolated(house: House) -> bool:
    return house.row(schema.node, schema.node.c.name == "n").state == "isolated"


def test_every_form_is_in_the_table(house: House) -> None:
    """So that a form that is added is tried here."""
    shapes = {path.replace("/n/", "/{name}/").replace("/plant/", "/{name}/") for path in FORMS}
    for old, new in (
        ("alerts/1", "alerts/{alert_id}"),
        ("profiles/0", "profiles/{record_id}"),
        ("orders/1", "orders/{number}"),
    ):
        shapes = {path.replace(old, new) for path in shapes}
    shapes = {
        path.replace("references/1", "references/{value_id}").replace("brake/hold", "brake/{decision}")
        for path in shapes
    }
    assert changing(house) - {"/console/sign-in"} == shapes


def test_a_form_of_ours_is_taken(fresh: House) -> None:
    """The control of every refusal below."""
    assert fresh.signed_in().post("/console/nodes/n/isolate", {"reason": "control"}).status_code == 303
    assert isolated(fresh)


@pytest.mark.parametrize("token", ["", "0" * 64, "\N{SNOWMAN}", None])
def test_a_form_without_the_session_s_token_is_refused(fresh: House, token: str | None) -> None:
    browser = fresh.signed_in()
    given = {"reason": "forged", "form_token": token if token is not None else fresh.signed_in().form_token()}
    response = browser.post("/console/nodes/n/isolate", given)
    assert response.status_code == 403 and "not of your session" in response.text
    assert not isolated(fresh)


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("https://evil.example", "cross-site"),
        ("https://evil.example", ""),
        ("", "cross-site"),
        ("", "same-site"),
        ("", "none"),
        ("null", "same-origin"),
        ("null", ""),
        (ORIGIN, "cross-site"),
        (f"{ORIGIN}:8443", ""),
        ("http://127.0.0.1", ""),
        ("", ""),
    ],
)
def test_a_form_of_another_site_is_refused_even_with_the_token(fresh: House, origin: str, site: str) -> None:
    response = fresh.signed_in().post("/console/nodes/n/isolate", {"reason": "x"}, origin=origin, sec_fetch_site=site)
    assert response.status_code == 403 and "not sent by a page of the console" in response.text
    assert not isolated(fresh)


@pytest.mark.parametrize(("origin", "site"), [(ORIGIN, ""), ("", "same-origin")])
def test_either_word_of_the_browser_is_enough(fresh: House, origin: str, site: str) -> None:
    response = fresh.signed_in().post("/console/nodes/n/isolate", {"reason": "x"}, origin=origin, sec_fetch_site=site)
    assert response.status_code == 303 and isolated(fresh)


def test_without_the_checks_a_forged_form_would_be_taken(fresh: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test that fails when they are taken out: nothing else stands in the way."""
    monkeypatch.setattr(desk, "check_origin", lambda request: None)
    monkeypatch.setattr(desk, "bears", lambda form, token: True)
    browser = fresh.signed_in()
    forged = {"reason": "forged", "form_token": ""}
    response = browser.post(
        "/console/nodes/n/isolate", forged, origin="https://evil.example", sec_fetch_site="cross-site"
    )
    assert response.status_code == 303 and isolated(fresh)


def test_signing_in_is_not_forged_either(house: House) -> None:
    """Another site must not sign somebody in as somebody else."""
    token = house.token("mallory", READ)
    for guessed in ("0" * 64, sessions.form_token("")):
        refused = house.browser().send(
            "POST", "/console/sign-in", data={"token": token, "form_token": guessed}, headers={"origin": ORIGIN}
        )
        assert refused.status_code == 403
    assert house.browser().sign_in(token).status_code == 303


@pytest.mark.parametrize("path", FORMS)
def test_whoever_lacks_the_scope_is_refused(fresh: House, path: str) -> None:
    rights = {"read": READ, "operate": OPERATE, "approve": APPROVE}
    for name, scopes in rights.items():
        if path == "/console/sign-out":
            continue
        status = fresh.signed_in(scopes, name).post(path, {"reason": "x"}).status_code
        assert (status == 403) is (FORMS[path] not in {"read", *scopes}), (name, status)
        fresh.set_node("n", state="active")


@pytest.mark.parametrize("path", FORMS)
def test_nobody_sends_a_form_without_a_session(house: House, path: str) -> None:
    response = house.browser().send("POST", path, data={"reason": "x"}, headers={"origin": ORIGIN})
    assert response.status_code == 401 and 'name="token"' in response.text


def buttons(browser: Browser, path: str) -> set[str]:
    page = browser.page(path)
    return {line.split('"')[0] for line in page.split('method="post" action="')[1:]} - {"/console/sign-out"}


def test_a_viewer_sees_no_button_that_would_be_refused(fresh: House) -> None:
    node_id = fresh.node("n-viewed")
    fresh.do(lambda conn: enrol(conn, fresh.rt, node_id, "ada", "pending"))
    viewer, admin = fresh.signed_in(READ, "vera"), fresh.signed_in()
    for path in ("/console", "/console/nodes/n", "/console/approvals", "/console/networks", "/console/alerts"):
        assert buttons(viewer, path) == set(), path
    assert len(buttons(admin, "/console/nodes/n")) == 4 and len(buttons(admin, "/console/approvals")) == 3


def test_a_body_that_no_form_sends_is_refused(fresh: House) -> None:
    browser = fresh.signed_in()
    headers = {"origin": ORIGIN}
    for content, status in ((b"\xff\xfe", 400), (b"a=1&" * 100, 400), (b"x" * 170_000, 413), (b"%ff=%fe", 400)):
        answer = browser.send("POST", "/console/nodes/n/isolate", content=content, headers=headers)
        assert answer.status_code == status, content[:8]
    assert not isolated(fresh)


def test_the_audit_log_needs_its_scope(fresh: House) -> None:
    viewer, auditor = fresh.signed_in(READ, "vera"), fresh.signed_in([*READ, Scope.AUDIT], "aud")
    for path in ("/console/audit", "/console/audit/1"):
        assert (viewer.get(path).status_code, auditor.get(path).status_code) == (403, 200)
    assert "Last decisions" not in viewer.page("/console/nodes/n") and "<h2>Audit</h2>" in auditor.page(
        "/console/nodes/n"
    )
