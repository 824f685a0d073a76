"""Persons of identity providers as the authority remembers them: since when, with which scopes, and who is shut out.

A person is a row once their first good token was seen. The row holds no right: scopes come with every token. It tells
whether what they ordered and voted for still stands, and keeps out whom an administrator shut out.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from authority import audit
from authority.oidc.claims import Person
from authority.operators import Operator, revoke_tokens_of
from authority.refusal import Refused
from authority.store import schema
from protocol.problems import ErrorCode

NOTED_S = 60.0
"""That a person was seen is written down once in so long."""
_ROW, _SESSION = schema.oidc_person, schema.person_session
View = dict[str, Any]


def admit(conn: Connection, person: Person, now: float) -> Operator:
    """The operator that a person is; raises `Refused` for one who is shut out, or whom no role is given here."""
    row = conn.execute(select(_ROW).where(_ROW.c.name == person.name)).first()
    if row is not None and row.revoked_at is not None:
        raise Refused(
            ErrorCode.FORBIDDEN, 403, "this person is shut out here", "Have an administrator see `token persons`."
        )
    if not person.scopes:
        detail = "the identity provider gives this person no role here"
        raise Refused(ErrorCode.FORBIDDEN, 403, detail, "See the provider's claim, and `roles` of [[oidc]].")
    _note(conn, row, person, now)
    return Operator(person.name, person.scopes)


def listing(conn: Connection, now: float, after: str = "", limit: int | None = None) -> list[View]:
    """Everybody who was seen, by name."""
    query = select(_ROW).where(_ROW.c.name > after).order_by(_ROW.c.name).limit(limit)
    return [_view(row, now) for row in conn.execute(query)]


def shut_out(conn: Connection, name: str, actor: str, now: float) -> bool:
    """Refuse a person's tokens from now on, and void what they ordered and voted for; whether they were let in.

    Credentials of the authority's own that name the person end with it.
    """
    admitted = (_ROW.c.name == name) & _ROW.c.revoked_at.is_(None)
    done = conn.execute(update(_ROW).where(admitted).values(revoked_at=now, revoked_by=actor)).rowcount > 0
    if done:
        conn.execute(delete(_SESSION).where(_SESSION.c.person == name))
        detail = {"name": name, "tokens": revoke_tokens_of(conn, name, now)}
        audit.append(conn, "oidc-person-shut-out", actor, None, detail, now)
    return done


def readmit(conn: Connection, name: str, actor: str, now: float) -> bool:
    """Take a person's tokens again; what they ordered before stands no more. Whether they were shut out."""
    out = (_ROW.c.name == name) & _ROW.c.revoked_at.is_not(None)
    values = {"revoked_at": None, "revoked_by": "", "stands_until": now}
    done = conn.execute(update(_ROW).where(out).values(**values)).rowcount > 0
    if done:
        audit.append(conn, "oidc-person-readmitted", actor, None, {"name": name}, now)
    return done


def _note(conn: Connection, row: Row[Any] | None, person: Person, now: float) -> None:
    scopes = json.dumps(sorted(person.scopes))
    if row is None:
        values = {"name": person.name, "provider": person.provider, "subject": person.subject, "first_seen_at": now}
        standing = {"scopes": scopes, "seen_at": now, "stands_until": person.stands_until}
        conn.execute(insert(_ROW).values(**values, **standing))
    elif row.scopes != scopes or not 0 <= now - row.seen_at < NOTED_S or row.stands_until <= now:
        standing = {"scopes": scopes, "seen_at": now, "stands_until": person.stands_until}
        conn.execute(update(_ROW).where(_ROW.c.name == person.name).values(**standing))
    if row is None or row.scopes != scopes:
        detail = {"provider": person.provider, "subject": person.subject, "scopes": sorted(person.scopes)}
        audit.append(conn, "oidc-person", person.name, None, detail, now)


def _view(row: Row[Any], now: float) -> View:
    names = ("name", "provider", "subject", "first_seen_at", "seen_at")
    state = "shut-out" if row.revoked_at is not None else "standing" if row.stands_until > now else "absent"
    shown = {name: getattr(row, name) for name in names}
    return {**shown, "scopes": json.loads(row.scopes), "state": state, "shut_out_by": row.revoked_by}
