"""Key versions of a network: made, staged, moved down by a rotation, held to the compromise floor, destroyed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Row,
    SelectBase,
    String,
    and_,
    bindparam,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)

from authority import audit
from authority.alerts import raise_alert
from authority.keys.kek import KekError, KekProvider, version_context
from authority.keys.shredding import ShredKeys
from authority.refusal import Refused
from authority.runtime import Refusal, Runtime
from authority.store import schema
from protocol.key_schedule import KEY_BYTES
from protocol.levels import VersionState
from protocol.problems import ErrorCode

FIRST_STATES = (VersionState.OUTDATED, VersionState.PREVIOUS, VersionState.LATEST)
"""What a new network gets, so that every tier has a version of its own."""

_DOWN = {
    VersionState.PREVIOUS: VersionState.OUTDATED,
    VersionState.LATEST: VersionState.PREVIOUS,
    VersionState.STAGED: VersionState.LATEST,
}
"""Where a rotation takes each state, in the order in which it has to be done."""

_ALIVE = [state.value for state in VersionState if state is not VersionState.DESTROYED]
_row = schema.key_version
_alive: ColumnElement[bool] = _row.c.state.in_(_ALIVE)


def _newest(state: str) -> SelectBase:
    """The highest version of a network (`net`) in a state: one step in an index, however many there are."""
    net = bindparam("net", type_=String)
    floor = select(schema.network.c.floor).where(schema.network.c.name == net).scalar_subquery()
    mine = (_row.c.network == net) & (_row.c.state == state) & (_row.c.version >= floor)
    return select(literal(state), func.max(_row.c.version)).where(mine)


_NEWEST: CompoundSelect[Any] = union_all(*(_newest(state) for state in _ALIVE))


def numbers_by_state(conn: Connection, network: str) -> dict[VersionState, int]:
    """The newest version in each state that a live version has; none that lies below the compromise floor."""
    return {VersionState(state): number for state, number in conn.execute(_NEWEST, {"net": network}) if number}


def usable(conn: Connection, network: str, numbers: Collection[int]) -> frozenset[int]:
    """Those of these versions of a network that live and do not lie below its compromise floor."""
    floor = select(schema.network.c.floor).where(schema.network.c.name == network).scalar_subquery()
    wanted = _live(network) & _row.c.version.in_([*numbers]) & (_row.c.version >= floor)
    return frozenset(conn.scalars(select(_row.c.version).where(wanted)))


def add_version(conn: Connection, rt: Runtime, network: str, state: VersionState, now: float) -> int:
    """A new random 256-bit secret, wrapped, in `state`; gives its number. Raises `KekError`."""
    newest = conn.scalar(select(func.max(_row.c.version)).where(_row.c.network == network)) or 0
    number: int = newest + 1
    shred_id = rt.shreds.make() if rt.shreds is not None else ""
    wrapped = _wrap(rt, rt.random(KEY_BYTES), version_context(network, number), shred_id)
    values = {"network": network, "version": number, "state": state.value, "wrapped": wrapped, "shred_id": shred_id}
    conn.execute(insert(_row).values(**values, kek_id=rt.kek.kek_id, created_at=now, moved_at=now))
    return number


def stage(conn: Connection, rt: Runtime, network: str, now: float) -> int:
    """A version that takes force with the next rotation; raises `Refused` when one waits already."""
    waiting = numbers_by_state(conn, network).get(VersionState.STAGED)
    if waiting is not None:
        raise Refusal(f"version {waiting} of {network} is staged already", "Let it take force with `key rotate`.")
    return add_version(conn, rt, network, VersionState.STAGED, now)


def move_down(conn: Connection, rt: Runtime, network: str, now: float) -> dict[VersionState, int]:
    """One rotation: a staged version (made here if there is none) becomes the latest, the oldest are destroyed."""
    before = numbers_by_state(conn, network)
    if VersionState.STAGED not in before:
        before[VersionState.STAGED] = add_version(conn, rt, network, VersionState.STAGED, now)
    for state, following in _DOWN.items():
        if state in before:
            _move(conn, network, before[state], following, now)
    _destroy(conn, _superfluous(conn, network, rt.policy.versions.outdated_kept), "rotation", now)
    return numbers_by_state(conn, network)


def raise_floor(conn: Connection, network: str, floor: int, actor: str, now: float) -> list[int]:
    """From now on no version below `floor` is used; those that live are destroyed, and named. Raises `Refused`."""
    here = schema.network.c.name == network
    present: int = conn.execute(select(schema.network.c.floor).where(here)).scalar_one()
    if floor <= present:
        raise Refusal(f"the compromise floor of {network} is {present} already", "A floor is only ever raised.")
    latest = numbers_by_state(conn, network).get(VersionState.LATEST, 0)
    if floor > latest:
        text = f"version {floor} of {network} is not in force yet: the latest one is {latest}"
        raise Refused(ErrorCode.CONFLICT, 409, text, "Run `key rotate` first.")
    conn.execute(update(schema.network).where(here).values(floor=floor))
    below = conn.execute(select(_row).where(_live(network) & (_row.c.version < floor))).all()
    _destroy(conn, below, "compromise", now)
    numbers = [row.version for row in below]
    audit.append(conn, "floor-raised", actor, None, {"network": network, "floor": floor, "destroyed": numbers}, now)
    return numbers


def open_secret(conn: Connection, rt: Runtime, network: str, version: int) -> bytes:
    """The 32-byte secret of a live version; raises `KekError` when KEK or shred key are not its own, or gone."""
    wanted = _live(network) & (_row.c.version == version)
    row = conn.execute(select(_row.c.wrapped, _row.c.shred_id).where(wanted)).one()
    context = version_context(network, version)
    inner = rt.kek.unwrap(row.wrapped, context)
    return _shreds(rt).unwrap(row.shred_id, inner, context) if row.shred_id else inner


def rewrap(conn: Connection, old: KekProvider, new: KekProvider) -> int:
    """Put every live version under another KEK; how many. Shred keys stay as they are. Raises `KekError`."""
    rows = conn.execute(select(_row).where(_alive)).all()
    for row in rows:
        context = version_context(row.network, row.version)
        wrapped = new.wrap(old.unwrap(row.wrapped, context), context)
        conn.execute(update(_row).where(_is(row)).values(wrapped=wrapped, kek_id=new.kek_id))
    return len(rows)


def destroy_old(conn: Connection, rt: Runtime, now: float) -> int:
    """Destroy outdated versions that a newer outdated one replaced as long ago as the policy keeps them; how many."""
    newer = _row.alias("newer")
    replaced_at = (
        select(func.min(newer.c.moved_at))
        .where((newer.c.network == _row.c.network) & (newer.c.version > _row.c.version))
        .where(newer.c.state == VersionState.OUTDATED)
        .scalar_subquery()
    )
    outdated = _row.c.state == VersionState.OUTDATED
    old = conn.execute(select(_row).where(outdated & (replaced_at <= now - rt.policy.versions.outdated_s))).all()
    _destroy(conn, old, "age", now)
    return len(old)


def shred(conn: Connection, rt: Runtime, now: float) -> int:
    """Destroy every shred key that belongs to no live version; how many.

    In a transaction of its own: what it sees has been committed, so that no rollback brings back a version whose shred
    key is gone. A crash in between leaves work for the next call. Raises `KekError`.
    """
    shreds = _shreds(rt)
    named = _row.c.shred_id != ""
    live = {*conn.scalars(select(_row.c.shred_id).where(named & _alive))}
    dead = shreds.ids() - live
    for shred_id in dead:
        shreds.destroy(shred_id)
    unmarked = (_row.c.state == VersionState.DESTROYED) & _row.c.shredded_at.is_(None) & named
    for row in conn.execute(select(_row).where(unmarked)).all():
        conn.execute(update(_row).where(_is(row)).values(shredded_at=now))
        detail = {"network": row.network, "version": row.version, "shred": row.shred_id}
        audit.append(conn, "key-shredded", "authority", None, detail, now)
    return len(dead)


def replace_lost(conn: Connection, rt: Runtime, now: float) -> list[str]:
    """Give networks with versions whose shred key is gone three new ones; which networks.

    So it is after a backup was restored: what was destroyed since stays destroyed.
    """
    present = _shreds(rt).ids()
    live = conn.execute(select(_row).where(_alive)).all()
    lost = [row for row in live if row.shred_id and row.shred_id not in present]
    networks = sorted({row.network for row in lost})
    for network in networks:
        _destroy(conn, [row for row in live if row.network == network], "lost", now)
        made = [add_version(conn, rt, network, state, now) for state in FIRST_STATES]
        text = f"key versions of {network} were destroyed before this database was restored; new ones were made"
        raise_alert(conn, "warning", "versions-replaced", None, text, {"network": network, "versions": made}, now)
    return networks


def replace_all(conn: Connection, rt: Runtime, cause: str, now: float) -> list[str]:
    """Destroy every version of every network and make three new ones each, under the key of `rt`; which networks."""
    networks = [*conn.scalars(select(schema.network.c.name).order_by(schema.network.c.name))]
    for network in networks:
        _destroy(conn, conn.execute(select(_row).where(_live(network))).all(), cause, now)
        for state in FIRST_STATES:
            add_version(conn, rt, network, state, now)
    return networks


def _wrap(rt: Runtime, secret: bytes, context: bytes, shred_id: str) -> bytes:
    inner = _shreds(rt).wrap(shred_id, secret, context) if shred_id else secret
    return rt.kek.wrap(inner, context)


def _shreds(rt: Runtime) -> ShredKeys:
    if rt.shreds is None:
        raise KekError("this authority has no shred keys", "Start it with its whole state folder.")
    return rt.shreds


def _live(network: str) -> ColumnElement[bool]:
    return and_(_row.c.network == network, _alive)


def _is(row: Row[Any]) -> ColumnElement[bool]:
    return and_(_row.c.network == row.network, _row.c.version == row.version)


def _superfluous(conn: Connection, network: str, kept: int) -> Sequence[Row[Any]]:
    mine = (_row.c.network == network) & (_row.c.state == VersionState.OUTDATED)
    return conn.execute(select(_row).where(mine).order_by(_row.c.version.desc()).offset(kept)).all()


def _move(conn: Connection, network: str, version: int, state: VersionState, now: float) -> None:
    mine = (_row.c.network == network) & (_row.c.version == version)
    conn.execute(update(_row).where(mine).values(state=state.value, moved_at=now))


def _destroy(conn: Connection, rows: Sequence[Row[Any]], cause: str, now: float) -> None:
    for row in rows:
        values = {"state": VersionState.DESTROYED.value, "wrapped": b"", "destroyed_at": now, "moved_at": now}
        conn.execute(update(_row).where(_is(row)).values(**values))
        detail = {"network": row.network, "version": row.version, "cause": cause}
        audit.append(conn, "key-destroyed", "authority", None, detail, now)
