"""The operator plane asks who is there, and what for."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from authority.operators import create_operator_token
from authority.roles import Scope
from protocol.problems import ErrorCode
from simulators.lab.processes import command, run
from tests.system.harness import Site, refused, secret_file

pytestmark = pytest.mark.system


@pytest.fixture
def api(site: Site) -> Iterator[httpx.Client]:
    """A client of the operator plane without a token."""
    context = ssl.create_default_context(cafile=os.fspath(site.authority.state / "ca" / "ca.pem"))
    url = f"https://127.0.0.1:{site.authority.operator_port}"
    with httpx.Client(base_url=url, verify=context, timeout=10, trust_env=False) as client:
        yield client


def token_for(site: Site, *scopes: Scope, lifetime_s: float = 60) -> str:
    store, rt = site.library()
    try:
        return store.run(lambda conn: create_operator_token(conn, rt, "tester", scopes, lifetime_s))
    finally:
        store.close()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_every_route_demands_a_token(site: Site, api: httpx.Client) -> None:
    described = api.get("/openapi.json").json()["paths"]
    assert len(described) > 10
    for path, methods in described.items():
        for method in methods:
            answer = api.request(method, path.replace("{", "").replace("}", ""), json={})
            assert answer.status_code in {401, 422}, (method, path, answer.status_code)
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer kvo1.wrong", "Basic dXNlcjpwYXNz", "Bearer \x80\xff"])
def test_a_wrong_token_is_nobody(site: Site, api: httpx.Client, header: str) -> None:
    answer = api.get("/v1/nodes", headers={"authorization": header.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (401, ErrorCode.UNAUTHENTICATED)
    assert answer.json()["remedy"]
    assert "node-a" not in answer.text


def test_an_expired_token_is_nobody(site: Site, api: httpx.Client) -> None:
    expired = token_for(site, Scope.ADMIN, lifetime_s=0)
    assert api.get("/v1/nodes", headers=bearer(expired)).status_code == 401


def test_a_token_is_good_for_its_scopes_only(site: Site, api: httpx.Client) -> None:
    mark, reader = site.since(), bearer(token_for(site, Scope.READ))
    assert api.get("/v1/nodes", headers=reader).status_code == 200
    for path, body in (
        ("/v1/nodes/node-a/isolate", {"reason": "none"}),
        ("/v1/nodes/node-a/challenge", None),
        ("/v1/join-tokens", {"name": "sneaky"}),
        ("/v1/networks/lab/rotate", None),
    ):
        answer = api.post(path, headers=reader, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, ErrorCode.FORBIDDEN), path
        assert answer.json()["remedy"]
    assert site.node("node-a")["state"] == "active"
    assert mark.audits("node-isolate") == []
    assert mark.audits("join-token") == []


def test_an_operator_may_not_approve(site: Site, api: httpx.Client) -> None:
    operator = bearer(token_for(site, Scope.OPERATE))
    assert api.post("/v1/profiles/0/approve", headers=operator).status_code == 403
    assert api.post("/v1/networks/lab/rotate", headers=operator).status_code == 200


def test_the_command_line_tells_a_wrong_token(site: Site, folder: Path) -> None:
    file = secret_file(folder / "wrong.token", "kvo1.wrong")
    said = refused(
        "keyvigil-authority", "node", "list", "--state", str(site.authority.state), "--token-file", str(file)
    )
    assert "no valid operator token" in said.error
    assert "kvo1" not in said.output


def test_the_command_line_tells_that_no_authority_answers(site: Site, folder: Path) -> None:
    state = site.authority.state
    where = ["--url", "https://127.0.0.1:1", "--token-file", str(state / "operator.token")]
    said = refused("keyvigil-authority", "node", "list", *where, "--ca-file", str(state / "ca/ca.pem"), "--json")
    assert "does not answer" in said.error
    assert "keyvigil-authority serve" in said.remedy


def test_a_second_authority_on_the_same_state_says_so(site: Site) -> None:
    said = refused("keyvigil-authority", "serve", "--state", str(site.authority.state))
    assert "another authority serves" in said.error
    assert site.operator.get("/v1/health")["ok"]


def test_an_authority_whose_port_is_taken_says_so(site: Site, folder: Path) -> None:
    state, taken = str(folder / "second"), ["--node-port", str(site.authority.node_port), "--listen", "127.0.0.1"]
    run([command("keyvigil-authority"), "init", "--name", "127.0.0.1", "--state", state, *taken])
    said = refused("keyvigil-authority", "serve", "--state", state)
    assert f"cannot listen on 127.0.0.1:{site.authority.node_port}" in said.error
    assert "[node_plane]" in said.remedy
    assert site.operator.get("/v1/health")["ok"]
