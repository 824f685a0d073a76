"""Sessions of the console: opened by an operator's token or an identity provider, never longer or stronger than it.

The cookie holds 32 random bytes of which the database has the hash only. Name, scopes, expiry and revocation are read
from the token's own row at every request, so that whatever ends or narrows the token does so to its sessions at once.
The rights of whom a provider signed in are those that it told then, until what it said ends, or an administrator shuts
the person out.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, insert, select, update

from authority import audit, operators
from authority.oidc.id_tokens import SignedIn
from authority.oidc.people import admit
from authority.operators import Operator
from authority.refusal import Refused
from authority.roles import Scope, lookup_of
from authority.runtime import Runtime
from authority.store import schema
from protocol.codec import b64url
from protocol.problems import ErrorCode

SESSION_S = 8 * 3600.0
"""A session ends after so long however much it is used: a working day."""
IDLE_S = 1800.0
"""A session that nobody uses ends sooner."""
_NOTED_S = 60.0
"""Use is written down once in so long: a page that is looked at costs no durable write otherwise."""
_ROW, _OF_PERSON = schema.console_session, schema.person_session


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in; `csrf` is what every form of theirs carries, `ends_at` the latest end.

    `origin` is the hash of the token that opened it, or the person's name.
    """

    operator: Operator
    lookup: str
    origin: str
    ends_at: float
    csrf: str = field(repr=False)


def begin(conn: Connection, rt: Runtime, token: str, now: float) -> str:
    """A session for whoever has `token`; gives the cookie's text, its only copy. Raises `Refused`."""
    operator = operators.find_operator(conn, token, now)
    if operator is None:
        raise Refused(ErrorCode.UNAUTHENTICATED, 401, "this is no valid operator token", "Look for a newer one.")
    if not operator.may(Scope.READ):
        raise Refused(ErrorCode.FORBIDDEN, 403, "this token lacks the scope read", "Use another token.")
    text, origin = b64url(rt.random(32)), {"token": lookup_of(token)}
    _open(conn, _ROW, text, origin, now, now + SESSION_S)
    audit.append(conn, "console-sign-in", operator.name, None, {}, now)
    return text


def begin_for_person(conn: Connection, rt: Runtime, who: SignedIn, now: float) -> str:
    """As `begin`, for whom an identity provider signed in: until its word ends, or a working day. Raises `Refused`."""
    operator = admit(conn, who.person, now)
    if not operator.may(Scope.READ):
        detail = "the identity provider gives this person no role that may look at the console"
        raise Refused(ErrorCode.FORBIDDEN, 403, detail, "See the provider's claim, and `roles` of [[oidc]].")
    text, origin = b64url(rt.random(32)), {"person": operator.name, "scopes": json.dumps(sorted(operator.scopes))}
    _open(conn, _OF_PERSON, text, origin, now, min(who.ends_at, now + SESSION_S))
    audit.append(conn, "console-sign-in", operator.name, None, {"provider": who.person.provider}, now)
    return text


def find(conn: Connection, text: str, now: float) -> Session | None:
    """The session that a cookie's text stands for, unless it, or what opened it, has ended."""
    for table in (_ROW, _OF_PERSON):
        row = conn.execute(select(table).where(table.c.lookup == _lookup(text))).first()
        if row is not None:
            return _found(conn, table, row, text, now)
    return None


def end(conn: Connection, session: Session, now: float, *, everywhere: bool = False) -> None:
    """Sign out: this session, or all that the same token, or person, opened."""
    for table, origin in ((_ROW, _ROW.c.token), (_OF_PERSON, _OF_PERSON.c.person)):
        conn.execute(delete(table).where(origin == session.origin if everywhere else table.c.lookup == session.lookup))
    audit.append(conn, "console-sign-out", session.operator.name, None, {"everywhere": everywhere}, now)


def _open(conn: Connection, table: Table, text: str, origin: dict[str, str], now: float, ends_at: float) -> None:
    conn.execute(delete(table).where((table.c.expires_at <= now) | (table.c.seen_at <= now - IDLE_S)))
    row = {"lookup": _lookup(text), "created_at": now, "seen_at": now, "expires_at": ends_at}
    conn.execute(insert(table).values(**origin, **row))


def _found(conn: Connection, table: Table, row: Row[Any], text: str, now: float) -> Session | None:
    if row.expires_at <= now or row.seen_at <= now - IDLE_S:
        return None
    of_token = table is _ROW
    operator = operators.operator_at(conn, row.token, now) if of_token else _person(conn, row)
    if operator is None or not operator.may(Scope.READ):
        return None
    if now - row.seen_at >= _NOTED_S:
        conn.execute(update(table).where(table.c.lookup == row.lookup).values(seen_at=now))
    origin = row.token if of_token else row.person
    return Session(operator, row.lookup, origin, row.expires_at, form_token(text))


def _person(conn: Connection, row: Row[Any]) -> Operator | None:
    """Unless they were shut out meanwhile."""
    person = schema.oidc_person
    admitted = (person.c.name == row.person) & person.c.revoked_at.is_(None)
    if conn.execute(select(person.c.name).where(admitted)).first() is None:
        return None
    return Operator(row.person, frozenset(Scope(each) for each in json.loads(row.scopes)))


def form_token(cookie: str) -> str:
    """What forms carry against forgery by other sites: it follows from the cookie, and the cookie not from it."""
    return hmac.digest(cookie.encode(errors="surrogatepass"), b"keyvigil/console/form", "sha256").hex()


def _lookup(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
