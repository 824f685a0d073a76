"""Profiles by an operator's command line: approved, revoked, unlocked, erased, renewed, of several administrators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from authority.store import schema
from tests.authority.cli.conftest import Run, Serving
from tests.authority.cli.test_commands import add_node

SHARE = b"wrapped share"


def add_profile(serving: Serving, record: str, admin: str, state: str = "pending", **values: Any) -> str:
    """A profile as an enrolment leaves it."""
    node_id = add_node(serving, "n1") if not known(serving) else known(serving)
    row = {
        "record_id": record,
        "enrolment_id": f"e-{record}",
        "nonce": b"",
        "expires_at": 1e12,
        "admin": admin,
        "node_id": node_id,
        "state": state,
        "modalities": '[{"model":"m","modality":"face","parameters":"1"}]',
        "sensors": "[]",
        "consent": '{"text_version":"1"}',
        "release_share": SHARE,
        "following_share": SHARE,
        "created_at": 1.0,
        **values,
    }

    def make(conn: Connection) -> None:
        name = schema.administrator.c.name
        if conn.scalar(select(name).where(name == admin)) is None:
            conn.execute(insert(schema.administrator).values(name=admin, created_at=1.0))
        conn.execute(insert(schema.profile).values(**row))

    serving.authority.store.run(make)
    return record


def known(serving: Serving) -> str:
    return serving.authority.store.run(lambda conn: conn.scalar(select(schema.node.c.id)) or "")


def profile(serving: Serving, record: str) -> Any:
    row = schema.profile
    return serving.authority.store.run(lambda conn: conn.execute(select(row).where(row.c.record_id == record)).one())


def states(run: Run, serving: Serving) -> dict[str, str]:
    listed = run("admin", "list", *serving.options, "--json").value
    return {each["record_id"]: each["state"] for each in listed}


def kinds(run: Run, serving: Serving, record: str) -> list[str]:
    listed = run("audit", "list", *serving.options, "--json").value
    return [each["kind"] for each in listed if each["data"].get("record") == record]


def test_an_approved_administrator_is_revoked_and_the_shares_are_destroyed(serving: Serving, run: Run) -> None:
    add_profile(serving, "r1", "ada")
    assert run("admin", "approve", "r1", *serving.options).status == 0
    assert states(run, serving) == {"r1": "active"}
    assert profile(serving, "r1").release_share == SHARE
    assert run("admin", "revoke", "r1", *serving.options, "--json").status == 0
    assert states(run, serving) == {"r1": "revoked"}
    assert (profile(serving, "r1").release_share, profile(serving, "r1").following_share) == (b"", b"")
    ended = run("admin", "approve", "r1", *serving.options)
    assert ended.status == 1 and "revoked" in ended.err and "remedy" in ended.err
    assert kinds(run, serving, "r1") == ["approved", "revoked"]


def test_several_administrators_of_one_node_are_revoked_one_by_one(serving: Serving, run: Run) -> None:
    for record, admin in (("r1", "ada"), ("r2", "bob"), ("r3", "ada")):
        add_profile(serving, record, admin, "active")
    assert run("admin", "revoke", "r2", *serving.options).status == 0
    assert states(run, serving) == {"r1": "active", "r2": "revoked", "r3": "active"}
    only = run("admin", "list", "--profile-state", "active", *serving.options, "--json").value
    assert {each["record_id"] for each in only} == {"r1", "r3"}
    words = run("admin", "list", *serving.options).out
    assert "ada" in words and "bob" in words


def test_erasure_leaves_whose_it_was_and_nothing_of_the_person(serving: Serving, run: Run) -> None:
    add_profile(serving, "r1", "ada", "active", guard_public=b"guard", nonce=b"nonce")
    assert run("admin", "erase", "r1", *serving.options).status == 0
    row = profile(serving, "r1")
    assert (row.state, row.admin) == ("erased", "ada")
    assert (row.modalities, row.sensors, row.consent) == ("[]", "[]", "{}")
    assert (row.release_share, row.following_share, row.guard_public, row.nonce) == (b"", b"", b"", b"")
    assert run("admin", "erase", "r1", *serving.options).status == 0, "again changes nothing"
    assert kinds(run, serving, "r1") == ["erased"]
    assert run("admin", "unlock", "r1", *serving.options).status == 1


def test_a_locked_administrator_is_unlocked(serving: Serving, run: Run) -> None:
    add_profile(serving, "r1", "ada", "active", failures_in_row=5, locked_until=9e12)
    assert run("admin", "unlock", "r1", *serving.options).status == 0
    row = profile(serving, "r1")
    assert (row.failures_in_row, row.locked_until, row.unlocked_at is not None) == (0, None, True)
    assert kinds(run, serving, "r1") == ["unlocked"]


def test_the_profile_that_was_renewed_ends_when_the_new_one_is_approved(serving: Serving, run: Run) -> None:
    add_profile(serving, "r1", "ada", "active")
    add_profile(serving, "r2", "ada", replaces="r1")
    assert states(run, serving) == {"r1": "active", "r2": "pending"}
    assert run("admin", "approve", "r2", *serving.options).status == 0
    assert states(run, serving) == {"r1": "revoked", "r2": "active"}
    assert profile(serving, "r1").erased_at is not None, "its node is ordered to remove it"


def test_a_record_that_nobody_knows_and_a_token_that_may_not(serving: Serving, run: Run, tmp_path: Path) -> None:
    add_profile(serving, "r1", "ada")
    token = tmp_path / "operator"
    run("token", "create", "op", "--scope", "read", "--scope", "operate", "--out", token, *serving.options)
    for verb in ("approve", "revoke", "erase", "unlock"):
        ended = run("admin", verb, "r9", *serving.options, "--json")
        assert ended.status == 1 and ended.value["remedy"], verb
        refused = run("admin", verb, "r1", *serving.options, "--token-file", token)
        assert (refused.status, "lacks the scope approve" in refused.err) == (1, True), verb
    assert states(run, serving) == {"r1": "pending"}


def test_a_retired_node_stays_out(serving: Serving, run: Run) -> None:
    add_node(serving, "old")
    assert run("node", "retire", "old", "--reason", "scrapped", *serving.options).status == 0
    shown = run("node", "show", "old", *serving.options, "--json").value
    assert (shown["state"], shown["access"]) == ("retired", "isolated")
    ended = run("node", "release", "old", *serving.options)
    assert ended.status == 1 and "remedy" in ended.err
