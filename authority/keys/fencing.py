"""The generation of an authority's database: it grows when the database was restored, so that no key comes twice.

Beside the database lies a file with the generation and a mark that grows with all that is issued. A database that is
behind the file was restored. A backup of the whole folder takes the file with it: then an operator says so (`fence`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import Connection, func, insert, select, update

from authority import audit
from authority.alerts import raise_alert
from authority.keys.kek import KekError, overwrite_and_remove, write_new
from authority.keys.orchestrator import reconcile
from authority.runtime import Push, Runtime
from authority.store import schema

FILE = "fence.json"
_GENERATION = "generation"


class Fence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of the file: the generation, and how much the database had issued when it was written."""

    generation: int
    mark: int


@dataclass(frozen=True)
class Opened:
    """What opening a database found: its generation from now on, and why that is a new one, if it is."""

    generation: int
    cause: str


class FenceFile:
    """The file beside the database. Methods raise `KekError` when it cannot be used."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._written: Fence | None = None

    def read(self) -> Fence | None:
        """What it says; none where there is no file."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Fence)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            remedy = "Remove it: the authority then begins a new generation, which is always safe."
            raise KekError(f"{self._path} cannot be read: {error}", remedy) from None

    def keep(self, conn: Connection, generation: int) -> int:
        """Write what has been committed, and give its mark; in a transaction that itself issues nothing."""
        fence = Fence(generation, issued(conn))
        if fence == self._written:
            return fence.mark
        new = self._path.with_suffix(".new")
        try:
            overwrite_and_remove(new)
            write_new(new, msgspec.json.encode(fence))
            new.replace(self._path)
        except OSError as error:
            raise KekError(f"{self._path} cannot be written: {error.strerror}", "Check folder and disk.") from None
        self._written = fence
        return fence.mark


def issued(conn: Connection) -> int:
    """How much this database has issued: deliveries and audit records together; it only grows."""
    deliveries = conn.scalar(select(func.sum(schema.node.c.next_delivery))) or 0
    return int(deliveries) + audit.log_size(conn)


def settle(conn: Connection, fence: Fence | None, now: float) -> Opened:
    """The generation of this database; a new one where it was restored, or where the file was lost."""
    stored = conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == _GENERATION))
    generation = 1 if stored is None else int(stored)
    if stored is None:
        conn.execute(insert(schema.meta).values(key=_GENERATION, value="1"))
    cause = _cause(conn, fence, generation, first=stored is None)
    if not cause:
        return Opened(generation, "")
    generation = max(generation, fence.generation if fence else 0)
    return Opened(begin_generation(conn, generation + 1, cause, "authority", now), cause)


def begin_generation(conn: Connection, generation: int, cause: str, actor: str, now: float) -> int:
    """Make `generation` the one in force; what is delivered from now on needs a `Runtime` that has it."""
    conn.execute(update(schema.meta).where(schema.meta.c.key == _GENERATION).values(value=str(generation)))
    detail = {"generation": generation, "cause": cause}
    audit.append(conn, "generation-begun", actor, None, detail, now)
    text = f"generation {generation} of the authority begins: {cause}; every node gets new keys"
    raise_alert(conn, "warning", "generation-begun", None, text, detail, now)
    return generation


def renew_all(conn: Connection, rt: Runtime, now: float) -> list[Push]:
    """New epochs, and so new keys, for every member of every network, under the generation of `rt`."""
    everybody = frozenset(conn.scalars(select(schema.member.c.node_id)))
    return reconcile(conn, rt, None, now, advance=everybody)


def _cause(conn: Connection, fence: Fence | None, generation: int, *, first: bool) -> str:
    if fence is None:
        return "" if first else f"{FILE} is missing, so that the database may have been restored"
    if fence.generation > generation or fence.mark > issued(conn):
        return "the database was restored from a backup"
    return ""
