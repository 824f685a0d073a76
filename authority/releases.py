"""Release shares: the authority's half of what opens a node's sealed record; numbered, counted, destroyed in turn.

A profile's row has the share that its record opens with, and once it was handed out the one that the record may have
been refreshed to. Both are good until an accepted presentation says that the record is at the later one.
"""

from __future__ import annotations

from typing import Any

from msgspec import UnsetType
from sqlalchemy import Connection, Row, func, select, update

from authority import audit
from authority.keys.kek import KekProvider
from authority.keys.sealing import delivery_key, seal_to
from authority.refusal import Refused
from authority.runtime import Runtime
from authority.store import schema
from protocol.codec import encode, length_prefixed
from protocol.problems import ErrorCode
from protocol.release import SHARE_BYTES, ReleasedShares

FIRST = 1
"""Number of the share that an enrolment gets; 0 is that of profiles from before shares had numbers."""
WINDOW_S = 86400.0


def wrap(rt: Runtime, record_id: str, number: int, share: bytes) -> bytes:
    """A share (32 bytes) as it is stored."""
    return rt.kek.wrap(share, _context(record_id, number))


def open_present(rt: Runtime, row: Row[Any]) -> bytes:
    """The share that a profile's record opens with; raises `KekError` when it was destroyed, or the KEK is another."""
    return rt.kek.unwrap(row.release_share, _context(row.record_id, row.share_number))


def seal_first(node: Row[Any], share: bytes, info: bytes) -> bytes:
    """The share of a new enrolment, for the node's delivery key alone; raises `DeliveryKeyUnusable`."""
    return _sealed(node, ReleasedShares(number=FIRST, present=share), info)


def hand_out(conn: Connection, rt: Runtime, node: Row[Any], row: Row[Any], info: bytes) -> bytes:
    """Both shares of a profile, sealed to the node's delivery key and counted; the later one is made when missing.

    Raises `KekError`, `DeliveryKeyUnusable`.
    """
    present = open_present(rt, row)
    following, wrapped = _following(rt, row)
    values = {"following_share": wrapped, "releases": schema.profile.c.releases + 1}
    conn.execute(update(schema.profile).where(_is(row)).values(**values))
    return _sealed(node, ReleasedShares(number=row.share_number, present=present, following=following), info)


def settle(conn: Connection, row: Row[Any], said: int | UnsetType, node_id: str, now: float) -> None:
    """After accepted evidence: the share before the one that the node now uses is destroyed.

    A number that was not handed out changes nothing.
    """
    if isinstance(said, UnsetType) or said != row.share_number + 1 or not row.following_share:
        return
    values = {"share_number": said, "release_share": row.following_share, "following_share": b""}
    conn.execute(update(schema.profile).where(_is(row)).values(**values))
    audit.append(conn, "share-destroyed", "authority", node_id, {"record": row.record_id, "number": said - 1}, now)


def check_rate(conn: Connection, rt: Runtime, row: Row[Any], now: float) -> None:
    """Raise `Refused` when a profile's shares were handed out as often as the policy allows within a day."""
    mine = (schema.challenge.c.record_id == row.record_id) & (schema.challenge.c.activated_at > now - WINDOW_S)
    lately = conn.scalar(select(func.count()).select_from(schema.challenge).where(mine)) or 0
    if lately < rt.policy.lockout.releases_per_day:
        return
    detail = {"record": row.record_id, "cause": "too many presentations within a day"}
    audit.append(conn, "begin-refused", row.node_id, row.node_id, detail, now)
    raise Refused(
        ErrorCode.TOO_MANY_TRIES,
        403,
        "this profile was presented too often within a day",
        "Wait; an operator may raise lockout.releases_per_day in the policy.",
    )


def rewrap(conn: Connection, old: KekProvider, new: KekProvider) -> int:
    """Put every share under another KEK; how many. Raises `KekError`."""
    done = 0
    for row in conn.execute(select(schema.profile)).all():
        numbered = {"release_share": row.share_number, "following_share": row.share_number + 1}
        values = {}
        for column, number in numbered.items():
            wrapped = getattr(row, column)
            if wrapped:
                context = _context(row.record_id, number)
                values[column] = new.wrap(old.unwrap(wrapped, context), context)
        if values:
            conn.execute(update(schema.profile).where(_is(row)).values(**values))
        done += len(values)
    return done


def count(conn: Connection) -> int:
    """How many shares are stored."""
    row = schema.profile
    columns = (row.c.release_share, row.c.following_share)
    return sum(conn.scalar(select(func.count()).where(column != b"")) or 0 for column in columns)


def _following(rt: Runtime, row: Row[Any]) -> tuple[bytes, bytes]:
    number = row.share_number + 1
    if row.following_share:
        return rt.kek.unwrap(row.following_share, _context(row.record_id, number)), row.following_share
    share = rt.random(SHARE_BYTES)
    return share, wrap(rt, row.record_id, number, share)


def _sealed(node: Row[Any], shares: ReleasedShares, info: bytes) -> bytes:
    return seal_to(delivery_key(node.enclave_kind, node.delivery_public), info, encode(shares))


def _is(row: Row[Any]) -> Any:
    return schema.profile.c.record_id == row.record_id


def _context(record_id: str, number: int) -> bytes:
    """What a wrapped share is bound to."""
    if number == 0:
        return length_prefixed("keyvigil/release-share/1", record_id)
    return length_prefixed("keyvigil/release-share/2", record_id, number)
