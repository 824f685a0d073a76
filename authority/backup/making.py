"""Making a backup beside an authority that serves: nothing waits for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection, insert, update

from authority import audit
from authority.backup import archive, container
from authority.backup.locks import Lock, Sealed
from authority.backup.refused import BackupError
from authority.config import Site
from authority.keys import fencing, shredding
from authority.metrics.snapshot import LAST_BACKUP
from authority.store import schema

DATABASE = "authority.db"
"""The name of the database in a backup, whatever it is called on the site."""
_WORK = ".backup"
_LEFT_OUT = {fencing.FILE, "lock", "operator.token"}


@dataclass(frozen=True)
class Made:
    """A backup that was written, read back and found whole."""

    path: Path
    size: int
    sha256: str
    files: int
    generation: int
    log_size: int
    outside: list[str]
    """Files that the configuration names and that do not lie in the state folder: they are not in it."""


def make_backup(site: Site, out: Path, lock: Lock, now: float, random: Callable[[int], bytes] = os.urandom) -> Made:
    """A sealed backup of a state folder in the new file `out` (0600). Raises `BackupError`.

    Everything in the folder but shred keys, the fence, logs and the first operator's token; of the database a copy
    that is consistent, whoever writes to it meanwhile. It is read back and compared before it gets its name.
    """
    if "://" in site.config.database:
        text = "the database is another server's"
        raise BackupError(
            text, "Back it up with its own tools (pg_basebackup, pg_dump); docs/operations.md says what else."
        )
    if out.exists():
        raise BackupError(f"{out} exists", "Name another file: a backup is never written over.")
    part = out.with_name(f".{out.name}.part")
    try:
        with _workplace(site) as work, _new_file(part):
            made = _write(site, work, part, lock, now, random)
            os.link(part, out)
    except OSError as error:
        raise BackupError(f"the backup cannot be written: {error.strerror}", "Check the disk and the path.") from None
    return Made(out, *made, outside=_outside(site))


def note_backup(conn: Connection, made: Made, kind: str, actor: str, now: float) -> None:
    """Write into the audit log that there is a backup, and which; it says nothing of where."""
    detail = {"sha256": made.sha256, "size": made.size, "lock": kind, "generation": made.generation}
    audit.append(conn, "backup", actor, None, detail, now)
    row = schema.meta
    if conn.execute(update(row).where(row.c.key == LAST_BACKUP).values(value=repr(now))).rowcount == 0:
        conn.execute(insert(row).values(key=LAST_BACKUP, value=repr(now)))


def _write(
    site: Site, work: Path, part: Path, lock: Lock, now: float, random: Callable[[int], bytes]
) -> tuple[int, str, int, int, int]:
    copy = work / DATABASE
    generation, log_size = copy_database(site.path(site.config.database), copy)
    files = {**_files(site), DATABASE: copy}
    entries = [archive.entry(name, file) for name, file in files.items()]
    manifest = archive.Manifest(archive.VERSION, version("keyvigil"), now, generation, log_size, entries)
    with part.open("r+b") as stream:
        writer = container.Writer(stream, lock, now, random)
        archive.write(writer, manifest, [*files.values()])
        stream.flush()
        os.fsync(stream.fileno())
    if verify(part, lambda _: writer.key) != manifest:
        raise BackupError("what was written is not what was read back", "Check the disk, and try another.")
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return part.stat().st_size, digest, len(entries), generation, log_size


def verify(file: Path, open_key: Callable[[Sealed], bytes]) -> archive.Manifest:
    """Read a backup to its end and keep nothing; raises `BackupError` unless all of it holds."""
    with file.open("rb") as stream:
        return archive.read(container.Reader(stream, open_key), lambda _: lambda _: None)


def copy_database(source: Path, copy: Path) -> tuple[int, int]:
    """A consistent copy, in one file, by SQLite's own backup; gives generation and size of the log.

    Raises `BackupError` when the source cannot be read, or is damaged.
    """
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as theirs,
            contextlib.closing(sqlite3.connect(copy)) as ours,
        ):
            theirs.backup(ours)
            ours.execute("PRAGMA journal_mode=DELETE")
            sound = ours.execute("PRAGMA integrity_check").fetchone()[0]
            if sound != "ok":
                raise BackupError(f"the database is damaged: {sound[:200]}", "Restore the last backup that was whole.")
            row = ours.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
            size = ours.execute("SELECT COALESCE(MAX(position) + 1, 0) FROM log_node WHERE level = 0").fetchone()[0]
    except sqlite3.Error as error:
        raise BackupError(f"{source} cannot be copied: {error}", "Check that it is the authority's database.") from None
    return int(row[0]) if row else 1, int(size)


def _files(site: Site) -> dict[str, Path]:
    """Everything in the state folder that belongs into a backup, by name, one folder deep."""
    own = site.path(site.config.database).name
    logs = {Path(site.config.alerts.file).name} if site.config.alerts.file else set()
    found: dict[str, Path] = {}
    for entry in sorted(site.folder.iterdir()):
        if entry.name.startswith(".") or entry.name == shredding.FOLDER or entry.suffix == ".new":
            continue
        if entry.is_dir():
            found |= {f"{entry.name}/{each.name}": each for each in sorted(entry.iterdir()) if _is_kept(each)}
        elif _is_kept(entry) and entry.name not in _LEFT_OUT and not entry.name.startswith((own, *logs)):
            found[entry.name] = entry
    return found


def _is_kept(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.suffix != ".new"


def _outside(site: Site) -> list[str]:
    """Named files that lie elsewhere."""
    config = site.config
    names = [config.policy, *config.endorsement.roots, *config.endorsement.lab_roots]
    for each in config.alerts.destinations:
        names += [each.ca, each.certificate, each.key, each.secret_file]
    inside = site.folder.resolve()
    return sorted({name for name in names if name and not site.path(name).resolve().is_relative_to(inside)})


@contextlib.contextmanager
def _workplace(site: Site) -> Iterator[Path]:
    """A folder (0700) for the copy; what an earlier backup that was cut off left there goes first."""
    work = site.folder / _WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _new_file(part: Path) -> Iterator[None]:
    """An empty 0600 file that is gone afterwards; what was to stay has another name by then."""
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    try:
        yield
    finally:
        part.unlink(missing_ok=True)
