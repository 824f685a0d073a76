"""Key versions of a network: made, moved down by a rotation, destroyed."""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select, update

from authority.keys.kek import version_context
from authority.runtime import Runtime
from authority.store import schema
from protocol.key_schedule import KEY_BYTES
from protocol.levels import VersionState

_DOWN = {
    VersionState.OUTDATED: VersionState.DESTROYED,
    VersionState.PREVIOUS: VersionState.OUTDATED,
    VersionState.LATEST: VersionState.PREVIOUS,
    VersionState.STAGED: VersionState.LATEST,
}
"""Where a rotation takes each state, in the order in which it has to be done."""


def numbers_by_state(conn: Connection, network: str) -> dict[VersionState, int]:
    """The version number in each state that a live version has."""
    row = schema.key_version
    live = (row.c.network == network) & (row.c.state != VersionState.DESTROYED)
    return {VersionState(each.state): each.version for each in conn.execute(select(row).where(live))}


def add_version(conn: Connection, rt: Runtime, network: str, state: VersionState, now: float) -> int:
    """A new random 256-bit secret, wrapped, in `state`; gives its number."""
    row = schema.key_version
    newest = conn.scalar(select(func.max(row.c.version)).where(row.c.network == network)) or 0
    number: int = newest + 1
    wrapped = rt.kek.wrap(rt.random(KEY_BYTES), version_context(network, number))
    values = {"network": network, "version": number, "state": state.value, "wrapped": wrapped}
    conn.execute(insert(row).values(**values, kek_id=rt.kek.kek_id, created_at=now))
    return number


def move_down(conn: Connection, rt: Runtime, network: str, now: float) -> dict[VersionState, int]:
    """One rotation: a staged version (made here if there is none) becomes the latest, the outdated is destroyed."""
    before = numbers_by_state(conn, network)
    if VersionState.STAGED not in before:
        before[VersionState.STAGED] = add_version(conn, rt, network, VersionState.STAGED, now)
    for state, following in _DOWN.items():
        if state in before:
            _move(conn, network, before[state], following, now)
    return numbers_by_state(conn, network)


def open_secret(conn: Connection, rt: Runtime, network: str, version: int) -> bytes:
    """The 32-byte secret of a live version; raises `KekError` when the KEK is not its own."""
    row = schema.key_version
    wanted = (row.c.network == network) & (row.c.version == version) & (row.c.state != VersionState.DESTROYED)
    wrapped: bytes = conn.execute(select(row.c.wrapped).where(wanted)).scalar_one()
    return rt.kek.unwrap(wrapped, version_context(network, version))


def _move(conn: Connection, network: str, version: int, state: VersionState, now: float) -> None:
    row = schema.key_version
    changed = update(row).where((row.c.network == network) & (row.c.version == version)).values(state=state.value)
    if state is VersionState.DESTROYED:
        changed = changed.values(wrapped=b"", destroyed_at=now)
    conn.execute(changed)
