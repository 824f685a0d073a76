"""The key-encryption keys that an authority has: which there are, and how each is opened and destroyed.

Which of them wraps the database is written in the database itself, in the transaction that wraps anew: whenever a
rotation is cut off, the key that the database names is the one that opens it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, func, insert, select, update

from authority import audit, owner_custody, releases
from authority.keys import versions
from authority.keys.kek import AesKek, FileKek, KekError, KekProvider, overwrite_and_remove, write_new
from authority.keys.kek_kinds import FIRST_FILE, LIST, Description, KekKind, Random, kind_of
from authority.store import schema

_CURRENT = "kek_id"
T = TypeVar("T")


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key: its name, its kind, and what its kind needs to find it. No secret."""

    kek_id: str
    kind: str
    description: Description


class KekShelf:
    """The list of keys in a state folder. `random` gives bytes from a CSPRNG. Methods raise `KekError`."""

    def __init__(self, folder: Path, random: Random = os.urandom) -> None:
        self._folder = folder
        self._random = random

    def entries(self) -> list[Entry]:
        """Every key, oldest first."""
        try:
            return msgspec.json.decode((self._folder / LIST).read_bytes(), type=list[Entry])
        except FileNotFoundError:
            return self._first()
        except (OSError, msgspec.DecodeError) as error:
            text = f"{self._folder / LIST} cannot be read: {error}"
            raise KekError(text, "Restore it from its backup.") from None

    def add(self, kind: str, options: Mapping[str, str]) -> Entry:
        """A new key of this kind, opened once to see that it works, and listed."""
        maker, known = kind_of(kind), self.entries()
        description = _asked(lambda: maker.create(self._folder, options, self._random))
        kek = self._provider(maker, kind, description)
        if any(entry.kek_id == kek.kek_id for entry in known):
            raise KekError(f"{kek.kek_id} is on the list already", "Give another key: one is never used again.")
        entry = Entry(kek.kek_id, kind, description)
        self._write([*known, entry])
        return entry

    def open(self, kek_id: str) -> KekProvider:
        """The key of this name."""
        entry = self.entry(kek_id)
        kek = self._provider(kind_of(entry.kind), entry.kind, entry.description)
        if kek.kek_id != kek_id:
            raise KekError(f"what was found for {kek_id} is another key", "Restore the key from its backup.")
        return kek

    def entry(self, kek_id: str) -> Entry:
        """What the list has under this name."""
        for entry in self.entries():
            if entry.kek_id == kek_id:
                return entry
        raise KekError(
            f"there is no key-encryption key {kek_id} any more",
            "What it wrapped is lost. Restore a database that is wrapped by a key of `kek show`.",
        )

    def destroy(self, kek_id: str) -> None:
        """Destroy a key, then forget it; a crash in between leaves it on the list to be destroyed again."""
        entry = self.entry(kek_id)
        maker = kind_of(entry.kind)
        _asked(lambda: maker.destroy(self._folder, entry.description))
        self._write([other for other in self.entries() if other.kek_id != kek_id])

    def _first(self) -> list[Entry]:
        if not (self._folder / FIRST_FILE).exists():
            return []
        kek = FileKek.open(self._folder / FIRST_FILE, self._random)
        return [Entry(kek.kek_id, "file", {"file": FIRST_FILE})]

    def _provider(self, maker: KekKind, kind: str, description: Description) -> KekProvider:
        found = _asked(lambda: maker.open(self._folder, description, self._random))
        return AesKek(found, self._random, kind) if isinstance(found, bytes) else found

    def _write(self, entries: list[Entry]) -> None:
        new = self._folder / f"{LIST}.new"
        try:
            overwrite_and_remove(new)
            write_new(new, msgspec.json.format(msgspec.json.encode(entries)))
            new.replace(self._folder / LIST)
        except OSError as error:
            text = f"{self._folder / LIST} cannot be written: {error.strerror}"
            raise KekError(text, "Check the folder and the disk.") from None


def current(conn: Connection, shelf: KekShelf) -> KekProvider:
    """The key that wraps this database; one that names none yet is under the first key. Raises `KekError`."""
    kek_id = conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == _CURRENT))
    if kek_id is not None:
        return shelf.open(kek_id)
    entries = shelf.entries()
    if not entries:
        raise KekError("there is no key-encryption key", "Restore the state folder's keys from their backup.")
    conn.execute(insert(schema.meta).values(key=_CURRENT, value=entries[0].kek_id))
    return shelf.open(entries[0].kek_id)


def rewrap(conn: Connection, old: KekProvider, new: KekProvider, actor: str, now: float) -> dict[str, int]:
    """Put all that is wrapped under `new`, and name it, in this one transaction; how much. Raises `KekError`."""
    done = {
        "versions": versions.rewrap(conn, old, new),
        "shares": releases.rewrap(conn, old, new),
        "owners": owner_custody.rewrap(conn, old, new),
    }
    conn.execute(update(schema.meta).where(schema.meta.c.key == _CURRENT).values(value=new.kek_id))
    audit.append(conn, "kek-rotated", actor, None, {"from": old.kek_id, "to": new.kek_id, **done}, now)
    return done


@dataclass(frozen=True)
class Usage:
    """How much of the database a key wraps, and whether new secrets go under it."""

    current: bool
    versions: int
    shares: int
    owners: int

    def as_dict(self) -> dict[str, int | bool]:
        """The figures by name."""
        return {"current": self.current, "versions": self.versions, "shares": self.shares, "owners": self.owners}


def usage(conn: Connection) -> dict[str, Usage]:
    """By key: what it wraps. Shares carry no name of their key; all are under the one in force."""
    kek_id = conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == _CURRENT)) or ""
    row = schema.key_version
    query = select(row.c.kek_id, func.count().label("rows")).where(row.c.wrapped != b"").group_by(row.c.kek_id)
    counted = {each.kek_id: each.rows for each in conn.execute(query)}
    shares, owners = releases.count(conn), owner_custody.count(conn)
    return {
        name: Usage(name == kek_id, counted.get(name, 0), *((shares, owners) if name == kek_id else (0, 0)))
        for name in {kek_id, *counted} - {""}
    }


def note_destruction(conn: Connection, kek_id: str, actor: str, now: float) -> None:
    """Write into the audit log that a key was destroyed."""
    audit.append(conn, "kek-destroyed", actor, None, {"kek": kek_id}, now)


def _asked(work: Callable[[], T]) -> T:
    """What a kind gives; what it raises becomes a `KekError`."""
    try:
        return work()
    except KekError:
        raise
    except Exception as error:  # noqa: BLE001 - a kind may come from any package
        remedy = getattr(error, "remedy", "") or "Check that the device is there and lets this user in."
        raise KekError(f"the key-encryption key is not to be had: {error}", remedy) from None
