"""The brake by command line: two different operators decide, and break-glass acts through it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from authority import standing
from tests.authority.cli.conftest import Run, Serving
from tests.authority.cli.test_commands import add_node

Operator = tuple[object, ...]


@pytest.fixture
def two(serving: Serving, run: Run, tmp_path: Path) -> Iterator[tuple[Operator, Operator]]:
    """Options of two operators."""
    made = []
    for name in ("olga", "omar"):
        token = tmp_path / name
        scopes = ("--scope", "read", "--scope", "approve", "--scope", "operate")
        assert run("token", "create", name, *scopes, "--out", token, *serving.options).status == 0
        made.append((*serving.options, "--token-file", token))
    yield made[0], made[1]


def engaged(run: Run, operator: Operator) -> bool:
    return bool(run("brake", "status", *operator, "--json").value["engaged"])


def fail_attestation(serving: Serving, node_id: str) -> None:
    def fail(conn: Connection) -> None:
        rt = serving.authority.runtime
        standing.record_attestation(conn, rt, node_id, ok=False, reason="PCR 7 differs", now=time.time())

    serving.authority.store.run(fail)


def test_two_operators_hold_and_release(serving: Serving, run: Run, two: tuple[Operator, Operator]) -> None:
    olga, omar = two
    assert "not engaged" in run("brake", "status", *olga).out
    for _ in range(2):
        assert run("brake", "hold", "--reason", "roll-out", *olga, "--json").value["engaged"] is False
    held = run("brake", "hold", "--reason", "roll-out", *omar, "--json").value
    assert held["engaged"] is True and held["cause"] == "roll-out"
    assert "the brake holds since" in run("brake", "status", *omar).out
    assert run("brake", "release", *omar).status == 0 and engaged(run, omar)
    assert run("brake", "release", *omar).status == 0 and engaged(run, omar)
    assert run("brake", "release", *olga).status == 0 and not engaged(run, olga)
    audited = run("audit", "list", *serving.options, "--json").value
    votes = [each for each in audited if each["kind"].startswith("brake-vote")]
    assert [each["actor"] for each in votes] == ["olga", "olga", "omar", "omar", "omar", "olga"]


def test_a_vote_that_was_changed_counts_for_nothing(serving: Serving, run: Run, two: tuple[Operator, Operator]) -> None:
    olga, omar = two
    run("brake", "hold", *olga)
    run("brake", "release", *olga)
    run("brake", "hold", *omar)
    assert not engaged(run, olga)
    run("brake", "hold", *olga)
    assert engaged(run, olga)


def test_break_glass_keeps_keys_from_being_taken_and_takes_them_by_order(
    serving: Serving, run: Run, two: tuple[Operator, Operator]
) -> None:
    """The node that fails before the brake holds is the control."""
    olga, omar = two
    ids = {name: add_node(serving, name, enclave_kind="tpm2", score=900, tier="high") for name in ("n1", "n2", "n3")}
    fail_attestation(serving, ids["n1"])
    for operator in two:
        run("brake", "hold", *operator)
    fail_attestation(serving, ids["n2"])
    shown = {name: run("node", "show", name, *olga, "--json").value for name in ids}
    assert (shown["n1"]["tier"], shown["n2"]["tier"]) == ("low", "high")
    assert "held by the brake" in shown["n2"]["explanation"]
    assert run("node", "ban", "n3", "--reason", "stolen", *omar).status == 0
    assert run("node", "show", "n3", *olga, "--json").value["access"] == "isolated"
    for operator in two:
        run("brake", "release", *operator)
    serving.authority.store.run(
        lambda conn: standing.refresh_after(conn, serving.authority.runtime, "", 1000, time.time()) and None
    )
    assert run("node", "show", "n2", *olga, "--json").value["tier"] == "low"


def test_who_may_not_approve_has_no_vote(serving: Serving, run: Run, tmp_path: Path) -> None:
    token = tmp_path / "reader"
    run("token", "create", "reader", "--scope", "read", "--scope", "operate", "--out", token, *serving.options)
    reader = (*serving.options, "--token-file", token)
    ended = run("brake", "hold", *reader)
    assert (ended.status, "lacks the scope approve" in ended.err) == (1, True)
    assert run("brake", "status", *reader, "--json").value["votes"] == []


def test_a_vote_that_is_none_is_wrong_usage(run: Run) -> None:
    for arguments in (("stop",), ("hold", "--reason"), ("hold", "extra")):
        assert run("brake", *arguments).status == 2
