"""Who may scrape and who may ask: probes tell strangers names of checks, never reasons."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from authority.operators import create_operator_token
from authority.roles import Scope
from tests.authority.cli.conftest import Run, Serving, run, serving

__all__ = ["run", "serving"]
Get = Callable[..., httpx.Response]


@pytest.fixture
def get(serving: Serving) -> Get:
    context = ssl.create_default_context(cafile=str(serving.authority.ca.ca_file))
    rt = serving.authority.runtime

    def ask(path: str, scope: Scope | None = None) -> httpx.Response:
        headers = {}
        if scope is not None:
            token = serving.authority.store.run(lambda conn: create_operator_token(conn, rt, scope, [scope], 60))
            headers["authorization"] = f"Bearer {token}"
        with httpx.Client(verify=context, trust_env=False, timeout=20) as http:
            return http.get(serving.url + path, headers=headers)

    return ask


def test_metrics_need_a_token_of_their_own(get: Get) -> None:
    scopes: tuple[Scope | None, ...] = (None, *Scope)
    answers = {scope: get("/metrics", scope).status_code for scope in scopes}
    allowed = {scope for scope, status in answers.items() if status == 200}
    assert allowed == {Scope.METRICS, Scope.ADMIN}
    assert answers[None] == 401
    for path in ("/v1/nodes", "/v1/health", "/v1/alerts", "/v1/audit"):
        assert get(path, Scope.METRICS).status_code == 403
    check_exposition(get("/metrics", Scope.METRICS))


def check_exposition(answer: httpx.Response) -> None:
    """It has what the process knows and what the database says."""
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in ("keyvigil_generation 1.0", 'keyvigil_health{check="database"} 1.0', "keyvigil_nodes_connected 0.0"):
        assert line in answer.text
    assert 'keyvigil_certificate_expiry_timestamp_seconds{certificate="server"}' in answer.text
    assert "keyvigil_database_transaction_duration_seconds_count" in answer.text


def test_probes_are_for_everybody_and_tell_no_reason(get: Get, serving: Serving) -> None:
    (serving.state / "kek.key").rename(serving.state / "away")
    for path in ("/healthz", "/readyz"):
        answer = get(path)
        said: dict[str, Any] = answer.json()
        assert answer.status_code == 503
        assert "keys" in said["failing"] and said.keys() == {"healthy", "ready", "failing"}
        assert str(serving.state) not in answer.text
    reasons = {each["check"]: each for each in get("/v1/health", Scope.READ).json()["findings"]}
    assert str(serving.state) in reasons["keys"]["reason"] and reasons["keys"]["remedy"]
    assert 'keyvigil_health{check="keys"} 0.0' in get("/metrics", Scope.METRICS).text


def test_what_only_needs_attention_leaves_the_authority_ready(get: Get, serving: Serving) -> None:
    serving.authority.ca.renew_server(["127.0.0.1"], serving.authority.runtime.now() - 360 * 86400.0)
    assert (get("/healthz").status_code, get("/readyz").status_code) == (503, 200)


def test_the_command_asks_who_serves_and_else_looks_itself(serving: Serving, run: Run) -> None:
    said = run("health", *serving.options, "--json")
    checks = {each["check"] for each in said.value["findings"]}
    assert checks <= {"clock"} and said.status == bool(checks)
    away = run("health", "--state", serving.state, "--url", "https://127.0.0.1:1", "--json")
    assert away.status == 1 and "serving" in {each["check"] for each in away.value["findings"]}
    assert run("health", *serving.options, "--ready").status == 0
    assert run("health", "--state", serving.state, "--url", "https://127.0.0.1:1", "--ready").status == 1
    people = run("health", "--state", serving.state, "--url", "https://127.0.0.1:1")
    assert "FAILS  serving" in people.out and "remedy: Start it" in people.out
    (serving.state / "operator.token").write_text("kvo1.nobody\n")
    refused = run("health", *serving.options)
    assert refused.status == 1 and "no valid operator token" in refused.err and "FAILS" not in refused.out


def test_the_command_names_a_database_that_is_gone_and_makes_none(serving: Serving, run: Run) -> None:
    serving.authority.store.close()
    for file in serving.state.glob("authority.db*"):
        file.unlink()
    said = run("health", "--state", serving.state, "--url", "https://127.0.0.1:1", "--json")
    assert "database" in {each["check"] for each in said.value["findings"]}
    assert not (serving.state / "authority.db").exists()
