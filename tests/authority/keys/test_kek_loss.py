"""The loss of the key-encryption key, rehearsed: the authority does not start, and then goes on without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from authority.backup import KeyLock, restore_backup
from authority.config import load_site
from authority.keys import KekError, versions
from authority.service import Authority, open_authority
from authority.store import schema
from tests.authority.backup.conftest import Safe, live_versions, safe
from tests.authority.cli.conftest import Run, run

__all__ = ["run", "safe"]


def add_people(conn: Connection, authority: Authority) -> None:
    """A node whose TPM the authority owns, and somebody who is enrolled there."""
    rt, now = authority.runtime, authority.runtime.now()
    node = {"id": "a" * 64, "name": "n1", "state": "active", "lab": False, "ownership": "taken", "joined_at": now}
    empty = {"ek_public": b"", "ak_public": b"", "delivery_public": b"", "certificate_sha256": "", "devices": "[]"}
    conn.execute(insert(schema.node).values(**node, **empty, certificate_not_after=now, reference_pcrs="{}"))
    conn.execute(insert(schema.tpm_owner).values(node_id="a" * 64, wrapped=rt.kek.wrap(b"x", b"y"), drawn_at=now))
    conn.execute(insert(schema.administrator).values(name="ada", created_at=now))
    share = rt.kek.wrap(b"s" * 32, b"c")
    profile = {"record_id": "b" * 32, "enrolment_id": "c" * 32, "node_id": "a" * 64, "admin": "ada", "nonce": b""}
    conn.execute(
        insert(schema.profile).values(**profile, state="active", release_share=share, created_at=now, expires_at=now)
    )


def test_an_authority_without_its_kek_goes_on_with_a_new_one(safe: Safe, run: Run) -> None:
    state, of = safe.site.folder, safe.authority
    of.store.run(lambda conn: add_people(conn, of))
    before = of.store.run(live_versions)
    safe.backup("with-kek")
    of.store.close()
    assert "is there" in run("kek", "lost", "--yes", "--state", state).err
    (state / "kek.key").unlink()
    with pytest.raises(KekError):
        open_authority(safe.site)
    assert "--yes" in run("kek", "lost", "--state", state).err
    done = run("kek", "lost", "--yes", "--state", state, "--json")
    assert done.status == 0, done.err
    assert (done.value["networks"], done.value["profiles"], done.value["owners"]) == (1, 1, 1)
    again = open_authority(load_site(state))
    try:
        after = again.store.run(live_versions)
        assert len(after) == 3 and not {each[0] for each in after} & {each[0] for each in before}
        for number, _, _ in after:
            assert len(again.store.run(lambda c, n=number: versions.open_secret(c, again.runtime, "net", n))) == 32
        row = again.store.run(lambda conn: conn.execute(select(schema.profile)).one())
        assert (row.state, row.release_share) == ("revoked", b"")
        node = again.store.run(lambda conn: conn.execute(select(schema.node)).one())
        assert node.ownership == "lost"
        kinds = again.store.run(lambda conn: [*conn.scalars(select(schema.alert.c.kind))])
        assert {"kek-lost", "generation-begun"} <= {*kinds}
        detail = again.store.run(
            lambda conn: conn.scalar(select(schema.audit.c.data).where(schema.audit.c.kind == "kek-lost"))
        )
        assert json.loads(detail or "{}")["profiles"] == 1
    finally:
        again.store.close()


def test_a_backup_whose_kek_is_elsewhere_is_restored_without_it(safe: Safe, tmp_path: Path) -> None:
    """As where the key is sealed to a TPM that burnt: the backup has all but the key itself."""
    (safe.site.folder / "keks.json").unlink(missing_ok=True)
    for key in safe.site.folder.glob("kek*.key"):
        key.unlink()
    safe.backup("no-kek")
    lock = KeyLock(safe.private.public_key(), safe.private)
    with pytest.raises(KekError):
        restore_backup(safe.folder / "no-kek", tmp_path / "one", lock)
    assert not (tmp_path / "one").exists()
    restored = restore_backup(safe.folder / "no-kek", tmp_path / "two", lock, kek_lost=True)
    again = open_authority(load_site(restored.folder))
    try:
        for number, _, _ in again.store.run(live_versions):
            assert len(again.store.run(lambda c, n=number: versions.open_secret(c, again.runtime, "net", n))) == 32
    finally:
        again.store.close()
