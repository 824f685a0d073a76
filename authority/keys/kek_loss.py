"""The key-encryption key is gone for good: what it wrapped is given up, on record, and the authority goes on.

Version secrets are made anew, and reach every node with the next delivery. Release shares are lost: people enrol again.
The authorisation values of TPMs are lost: whoever is at the node clears its TPM, and has it join again.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from authority import audit, profiles
from authority.alerts import raise_alert
from authority.keys import versions
from authority.runtime import Runtime
from authority.store import schema
from protocol.levels import Ownership

_CURRENT = "kek_id"


@dataclass(frozen=True)
class Loss:
    """How much was given up."""

    networks: int
    profiles: int
    owners: int


def name_new(conn: Connection, kek_id: str) -> str | None:
    """Have the database name another key than the one that wrapped it; gives the name of the lost one."""
    row = schema.meta
    lost = conn.scalar(select(row.c.value).where(row.c.key == _CURRENT))
    if lost is None:
        conn.execute(insert(row).values(key=_CURRENT, value=kek_id))
    conn.execute(update(row).where(row.c.key == _CURRENT).values(value=kek_id))
    return lost


def give_up(conn: Connection, rt: Runtime, lost: str | None, actor: str, now: float) -> Loss:
    """Give up what the lost key wrapped, and make under that of `rt` what can be made."""
    networks = versions.replace_all(conn, rt, "kek-lost", now)
    active = schema.profile.c.state.in_([profiles.OPEN, profiles.PENDING, profiles.ACTIVE])
    people = conn.execute(select(schema.profile).where(active)).all()
    for each in people:
        profiles.revoke(conn, each, actor, "the key-encryption key was lost", now)
    owned = schema.node.c.ownership.in_([Ownership.TAKEN.value, Ownership.DRAWN.value])
    owners = conn.execute(update(schema.node).where(owned).values(ownership=Ownership.LOST.value)).rowcount
    conn.execute(delete(schema.tpm_owner))
    done = Loss(len(networks), len(people), owners)
    detail = {"lost": lost or "", "to": rt.kek.kek_id, **vars(done)}
    audit.append(conn, "kek-lost", actor, None, detail, now)
    text = f"the key-encryption key was lost: {done.profiles} people enrol again, {done.owners} TPMs have to be cleared"
    raise_alert(conn, "critical", "kek-lost", None, text, detail, now)
    return done
