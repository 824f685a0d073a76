"""A wall clock that is set back: everything that waits or ages keeps its distance from now."""

from __future__ import annotations

from sqlalchemy import Column, Connection, update

from authority import audit
from authority.store import schema
from authority.trust import OPEN_CHALLENGES

SLACK_S = 1.0
"""Clocks are slewed by less without anybody noticing."""

_MOVED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("presentation", ("at",)),
    ("profile", ("locked_until",)),
    ("schedule", ("next_challenge_at", "next_attest_at", "attest_deadline_at", "checkin_at")),
    ("challenge", ("summoned_at", "expires_at", "activated_at", "deadline_at")),
    ("nonce", ("expires_at",)),
    ("network", ("look_at", "stepped_at", "settled_at")),
    ("member", ("rotate_at", "outstanding_since")),
    ("member_epoch", ("created_at", "not_before")),
    ("evicted_pair", ("since",)),
    ("delivery", ("issued_at", "ended_at")),
    ("brake", ("engaged_at", "ended_at")),
    ("brake_fall", ("at",)),
)


def follow_back(conn: Connection, last: float | None, now: float) -> None:
    """Move what waits or ages along, if the clock now shows less than when it was last looked at.

    Otherwise an acceptance would stay fresh, a deadline open, and a lock shut for as long as the clock went back. The
    audit log keeps the times as they were shown, with a record of the step.
    """
    if last is None or last - now <= SLACK_S:
        return
    step = last - now
    for name, columns in _MOVED:
        table = schema.metadata.tables[name]
        moved: list[Column[float]] = [table.c[column] for column in columns]
        change = update(table).values({column.name: column - step for column in moved})
        conn.execute(change.where(table.c.state.in_(OPEN_CHALLENGES)) if name == "challenge" else change)
    audit.append(conn, "clock-back", "authority", None, {"from": last, "to": now}, now)
