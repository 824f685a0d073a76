"""Bringing a backup back: all of it is checked first, in a folder beside, and nothing issues before it is fenced."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, insert, select, update

from authority import audit, break_glass
from authority.alerts import raise_alert
from authority.audit import LogReport, verify_log
from authority.backup import archive, container
from authority.backup.archive import Entry, Manifest, Sink
from authority.backup.locks import Lock
from authority.backup.making import DATABASE
from authority.backup.refused import BackupError
from authority.config import Site, load_site
from authority.keys import fencing, kek_loss
from authority.keys.kek import KekProvider
from authority.keys.kek_shelf import KekShelf, current
from authority.operators import create_operator_token, revoke_every_token
from authority.roles import Scope
from authority.service import YEAR_S, Authority, open_authority, write_token
from authority.store import Store, schema

_ACTOR = "state-folder"


@dataclass(frozen=True)
class Restored:
    """What came back: when it was made, its new generation, and what the audit log's tree says."""

    folder: Path
    made_at: float
    generation: int
    tokens_revoked: int
    log: LogReport


def restore_backup(
    file: Path,
    folder: Path,
    lock: Lock,
    now: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
    *,
    kek_lost: bool = False,
) -> Restored:
    """Make the state folder `folder`, which must not be there or be empty, from a backup. Raises `BackupError`.

    Afterwards a new generation has begun, every key version is new, no operator's token of before is good any more,
    and the new first one lies in `operator.token`. With `kek_lost` a new key-encryption key takes the place of one that
    the backup does not have, and what that wrapped is given up (`authority.keys.kek_loss`).
    """
    _check_empty(folder)
    beside = folder.absolute().with_name(f".{folder.name}.restoring")
    try:
        with _empty_folder(beside):
            manifest = _extract(file, beside, lock)
            restored = _begin_again(load_site(beside), manifest, now, random, kek_lost=kek_lost)
            if folder.exists():
                folder.rmdir()
            beside.rename(folder)
    except OSError as error:
        raise BackupError(f"the backup cannot be restored: {error.strerror}", "Check the disk and the paths.") from None
    return Restored(folder, manifest.made_at, *restored)


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BackupError(f"{folder} is not empty", "Name a new folder as --state: a restore writes over nothing.")


def _extract(file: Path, beside: Path, lock: Lock) -> Manifest:
    """Write every file; raises `BackupError` unless all of the backup holds to its end."""
    with contextlib.ExitStack() as stack, file.open("rb") as stream:

        def place(entry: Entry) -> Sink:
            path = beside / entry.name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            return stack.enter_context(os.fdopen(descriptor, "wb")).write

        manifest = archive.read(container.Reader(stream, lock.open), place)
    if not {DATABASE, "authority.toml"} <= {each.name for each in manifest.files}:
        raise BackupError("the backup holds no authority", "Use another backup.")
    return manifest


def _begin_again(
    site: Site, manifest: Manifest, now: Callable[[], float], random: Callable[[int], bytes], *, kek_lost: bool
) -> tuple[int, int, LogReport]:
    """Fence the database, open the authority once, and hand out its first token."""
    database = site.path(site.config.database)
    _place_database(site.path(DATABASE), database)
    store = Store(URL.create("sqlite", database=os.fspath(database)))
    try:
        report = store.run(verify_log)
        revoked = store.run(lambda conn: _fence(conn, manifest, report, now()))
    finally:
        store.close()
    authority = open_authority(site, now, random, _new_kek if kek_lost else current)
    try:
        if kek_lost:
            rt = authority.runtime
            authority.store.run(lambda conn: kek_loss.give_up(conn, rt, None, _ACTOR, now()))
            authority.store.run(lambda conn: fencing.renew_all(conn, rt, now()))
        authority.store.run(lambda conn: _first_token(conn, authority))
        return authority.runtime.generation, revoked, report
    finally:
        authority.store.close()


def _new_kek(conn: Connection, shelf: KekShelf) -> KekProvider:
    kek = shelf.open(shelf.add("file", {}).kek_id)
    kek_loss.name_new(conn, kek.kek_id)
    return kek


def _place_database(copy: Path, database: Path) -> None:
    """Give the database the name that the configuration has for it; raises `BackupError` where one is already."""
    if copy == database:
        return
    if database.exists():
        raise BackupError(f"{database} is there already", "Move it away: a restore writes over nothing.")
    copy.rename(database)


def _fence(conn: Connection, manifest: Manifest, report: LogReport, now: float) -> int:
    """A generation above every one that may have been in use, and nothing that admits anybody of before."""
    row = schema.meta
    stored = int(conn.scalar(select(row.c.value).where(row.c.key == "generation")) or 0)
    if not stored:
        conn.execute(insert(row).values(key="generation", value="0"))
    generation = generation_after_restore(stored, now)
    conn.execute(update(row).where(row.c.key == "generation").values(value=str(generation)))
    revoked = revoke_every_token(conn, now)
    break_glass.void(conn, None, _ACTOR, now)
    detail = {"made_at": manifest.made_at, "log_intact": report.intact, "tokens_revoked": revoked}
    audit.append(conn, "restored", _ACTOR, None, detail, now)
    text = "the authority was restored from a backup: what was decided since it was made is lost"
    raise_alert(conn, "critical", "authority-restored", None, text, detail, now)
    return revoked


def generation_after_restore(stored: int, now: float) -> int:
    """Minutes since 1970, or what is stored: above every generation of an authority that was restored before this.

    The backup cannot tell how often that was; two restores of one backup would otherwise begin the same generation,
    and nodes would take the second for a replay of the first.
    """
    return max(stored, int(now // 60))


def _first_token(conn: Connection, authority: Authority) -> None:
    token = create_operator_token(conn, authority.runtime, "first-operator", [Scope.ADMIN], YEAR_S)
    write_token(authority.site, token)


@contextlib.contextmanager
def _empty_folder(beside: Path) -> Iterator[None]:
    """A new folder (0700), removed again unless it got another name."""
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(mode=0o700)
    try:
        yield
    finally:
        shutil.rmtree(beside, ignore_errors=True)
