"""`audit checkpoint`, `audit proof` and `audit verify`, over the operator plane, checked by the CA alone."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import update

from authority import audit
from authority.store import schema
from tests.authority.cli.conftest import Run, Serving
from tests.authority.test_audit import forge


def record(serving: Serving, count: int) -> None:
    for index in range(count):
        serving.authority.store.run(lambda conn, index=index: audit.append(conn, "x", "y", None, {"i": index}, 1.0))


def test_a_record_s_proof_holds_by_the_ca_alone(serving: Serving, run: Run):
    record(serving, 6)
    found = run("audit", "proof", 3, *serving.options, "--json")
    assert found.status == 0
    assert found.value["holds"] is True
    assert "covers record 3" in run("audit", "proof", 3, *serving.options).out
    missing = run("audit", "proof", 99, *serving.options)
    assert (missing.status, "no record 99" in missing.err) == (1, True)


def test_a_checkpoint_that_was_kept_finds_a_log_rewritten_as_a_whole(serving: Serving, run: Run, tmp_path: Path):
    """The database alone is sound again: only what was kept elsewhere tells."""
    record(serving, 4)
    kept = tmp_path / "kept.txt"
    kept.write_text(run("audit", "checkpoint", *serving.options).out)
    record(serving, 3)
    assert run("audit", "verify", "--checkpoint", kept, *serving.options, "--json").value["continues"] is True

    def rewrite(conn):
        conn.execute(schema.log_checkpoint.delete())
        forge(conn, 2)

    serving.authority.store.run(rewrite)
    assert run("audit", "verify", *serving.options).status == 0
    found = run("audit", "verify", "--checkpoint", kept, *serving.options)
    assert found.status == 1
    assert "rewritten" in found.err and "remedy" in found.err


def test_a_changed_record_ends_with_status_one(serving: Serving, run: Run):
    record(serving, 4)
    assert run("audit", "verify", *serving.options).status == 0
    row = schema.audit
    serving.authority.store.run(lambda conn: conn.execute(update(row).where(row.c.seq == 3).values(actor="z")))
    found = run("audit", "verify", *serving.options, "--json")
    assert found.status == 1
    assert '"broken_at": 3' in found.out


def test_what_is_no_checkpoint_of_this_log_is_named(serving: Serving, run: Run, tmp_path: Path):
    record(serving, 2)
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("nothing\n")
    found = run("audit", "verify", "--checkpoint", wrong, *serving.options)
    assert found.status == 1 and "not one of this authority's log" in found.err
