"""A backup, made beside an authority that writes, and brought back on another machine."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from authority import audit
from authority.audit import verify_log
from authority.backup import BackupError, archive, container
from authority.config import load_site
from authority.keys import KekError, networks, versions
from authority.keys.kek import version_context
from authority.keys.shredding import ShredKeys
from authority.operators import create_operator_token, find_operator
from authority.roles import Scope
from authority.service import open_authority, peek
from authority.store import schema
from tests.authority.backup.conftest import MINUTE, Safe, live_versions


def names(safe: Safe, file: Path) -> list[str]:
    with file.open("rb") as stream:
        manifest = archive.read(container.Reader(stream, safe.lock.open), lambda _: lambda _: None)
    return [each.name for each in manifest.files]


def test_a_backup_has_what_an_authority_needs_and_no_shred_key(safe: Safe) -> None:
    made = safe.backup("contents")
    held = names(safe, made.path)
    assert {"authority.db", "authority.toml", "policy.toml", "kek.key", "ca/ca.key", "ca/kos.key"} <= {*held}
    left_out = {"fence.json", "operator.token", "lock"}
    assert not left_out & {*held} and not [each for each in held if each.startswith("shreds")]
    shreds = safe.authority.runtime.shreds
    assert shreds is not None and shreds.ids()
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert [*safe.folder.glob(".*")] == [*safe.site.folder.glob(".*")] == []


def test_a_backup_opens_no_key_version_of_any_time(safe: Safe) -> None:
    """The way to the secret is whole but for the shred key: with it, which no backup has, the same row opens."""
    safe.backup("versions")
    restored = safe.restore("versions", "versions-restored")
    rt = safe.authority.runtime
    empty = ShredKeys(safe.folder / "no-shreds")
    with_kek_alone = []
    for number, shred_id, wrapped in safe.authority.store.run(live_versions):
        inner = rt.kek.unwrap(wrapped, version_context("net", number))
        with_kek_alone.append(inner)
        with pytest.raises(KekError):
            empty.unwrap(shred_id, inner, version_context("net", number))
        assert rt.shreds is not None
        assert len(rt.shreds.unwrap(shred_id, inner, version_context("net", number))) == 32
    assert with_kek_alone
    theirs = peek(load_site(restored.folder), live_versions)
    ours = safe.authority.store.run(live_versions)
    assert len(theirs) == 3 and not {each[1] for each in theirs} & {each[1] for each in ours}


def test_a_version_that_was_destroyed_after_the_backup_does_not_come_back(safe: Safe) -> None:
    of, rt = safe.authority, safe.authority.runtime
    safe.backup("before")
    first = of.store.run(live_versions)[0][0]
    of.store.run(lambda conn: networks.rotate_versions(conn, rt, "net", "op", safe.now))
    of.store.run(lambda conn: versions.raise_floor(conn, "net", first + 1, "op", safe.now))
    of.store.run(lambda conn: versions.shred(conn, rt, safe.now))
    restored = open_authority(load_site(safe.restore("before", "before-restored").folder))
    try:
        assert first not in [each[0] for each in restored.store.run(live_versions)]
        with pytest.raises(Exception, match="No row"):
            restored.store.run(lambda conn: versions.open_secret(conn, restored.runtime, "net", first))
        newest = restored.store.run(live_versions)[-1][0]
        assert len(restored.store.run(lambda c: versions.open_secret(c, restored.runtime, "net", newest))) == 32
    finally:
        restored.store.close()


def test_a_restored_authority_is_fenced_before_it_is_in_place(safe: Safe) -> None:
    safe.backup("fenced")
    once = safe.restore("fenced", "fenced-1")
    twice = safe.restore("fenced", "fenced-2", at=safe.now + MINUTE)
    assert safe.authority.runtime.generation < once.generation < twice.generation
    site = load_site(once.folder)
    assert (site.folder / "fence.json").exists()
    kinds = peek(site, lambda conn: [*conn.scalars(select(schema.alert.c.kind))])
    assert {"authority-restored", "generation-begun", "versions-replaced"} <= {*kinds}
    again = open_authority(site)
    again.store.close()
    assert again.runtime.generation == once.generation, "opened twice, it was not restored twice"


def test_no_token_of_before_is_good_in_a_restored_authority(safe: Safe) -> None:
    of = safe.authority
    token = of.store.run(lambda conn: create_operator_token(conn, of.runtime, "eve", [Scope.ADMIN], 3600))
    safe.backup("tokens")
    restored = safe.restore("tokens", "tokens-restored")
    site = load_site(restored.folder)
    assert restored.tokens_revoked >= 2
    assert of.store.run(lambda conn: find_operator(conn, token, safe.now)) is not None
    assert peek(site, lambda conn: find_operator(conn, token, safe.now)) is None
    new = site.operator_token.read_text().strip()
    assert peek(site, lambda conn: find_operator(conn, new, safe.now)) is not None
    assert new != safe.site.operator_token.read_text().strip()


def test_a_backup_beside_an_authority_that_writes_is_consistent(safe: Safe) -> None:
    of, stop = safe.authority, threading.Event()

    def write() -> None:
        while not stop.is_set():
            of.store.run(lambda conn: audit.append(conn, "probe", "authority", None, {"x": "y" * 500}, safe.now))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = safe.backup("busy")
    finally:
        stop.set()
        writer.join()
    assert of.store.run(audit.log_size) > made.log_size, "it wrote meanwhile"
    restored = safe.restore("busy", "busy-restored")
    assert restored.log.intact and restored.log.length == made.log_size
    assert peek(load_site(restored.folder), verify_log).intact


def test_nothing_is_ever_written_over(safe: Safe) -> None:
    made = safe.backup("once")
    before = made.path.read_bytes()
    with pytest.raises(BackupError, match="exists"):
        safe.backup("once")
    with pytest.raises(BackupError, match="not empty"):
        safe.restore("once", "state")
    assert made.path.read_bytes() == before
    (safe.folder / "empty").mkdir()
    assert safe.restore("once", "empty").folder == safe.folder / "empty"


def test_a_damaged_backup_leaves_nothing_behind(safe: Safe) -> None:
    made = safe.backup("whole")
    damaged = safe.folder / "damaged"
    data = bytearray(made.path.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(BackupError, match="damaged"):
        safe.restore("damaged", "nothing")
    assert not (safe.folder / "nothing").exists() and not (safe.folder / ".nothing.restoring").exists()


def test_a_damaged_database_gives_no_backup(safe: Safe) -> None:
    folder = shutil.copytree(safe.site.folder, safe.folder / "broken")
    for companion in folder.glob("authority.db-*"):
        companion.unlink()
    with (folder / "authority.db").open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096 * 8))
    broken = Safe(safe.folder, load_site(folder), safe.authority)
    with pytest.raises(BackupError, match=r"damaged|malformed|cannot be copied"):
        broken.backup("of-broken")
    assert not (safe.folder / "of-broken").exists() and [*folder.glob(".*")] == []


def test_a_database_outside_the_folder_is_not_written_over(safe: Safe) -> None:
    folder = shutil.copytree(safe.site.folder, safe.folder / "elsewhere")
    there = safe.folder / "there.db"
    (folder / "authority.db").rename(there)
    for companion in folder.glob("authority.db-*"):
        companion.rename(there.with_name(companion.name.replace("authority", "there")))
    text = (folder / "authority.toml").read_text().replace('"authority.db"', f'"{there}"')
    (folder / "authority.toml").write_text(text)
    Safe(safe.folder, load_site(folder), safe.authority, safe.private).backup("outside")
    before = there.read_bytes()
    with pytest.raises(BackupError, match="there already"):
        safe.restore("outside", "outside-restored")
    assert there.read_bytes() == before
