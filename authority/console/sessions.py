"""Sessions of the console: opened by an operator's token, never longer or stronger than it.

The cookie holds 32 random bytes of which the database has the hash only. Name, scopes, expiry and revocation are read
from the token's own row at every request, so that whatever ends or narrows the token does so to its sessions at once.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, insert, select, update

from authority import audit, operators
from authority.operators import Operator, Scope
from authority.refusal import Refused
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
_ROW = schema.console_session


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in; `csrf` is what every form of theirs carries, `ends_at` the latest end."""

    operator: Operator
    lookup: str
    token: str
    ends_at: float
    csrf: str = field(repr=False)


def begin(conn: Connection, rt: Runtime, token: str, now: float) -> str:
    """A session for whoever has `token`; gives the cookie's text, its only copy. Raises `Refused`."""
    operator = operators.find_operator(conn, token, now)
    if operator is None:
        raise Refused(ErrorCode.UNAUTHENTICATED, 401, "this is no valid operator token", "Look for a newer one.")
    if not operator.may(Scope.READ):
        raise Refused(ErrorCode.FORBIDDEN, 403, "this token lacks the scope read", "Use another token.")
    text = b64url(rt.random(32))
    row = {"lookup": _lookup(text), "token": operators.lookup_of(token), "created_at": now, "seen_at": now}
    conn.execute(delete(_ROW).where((_ROW.c.expires_at <= now) | (_ROW.c.seen_at <= now - IDLE_S)))
    conn.execute(insert(_ROW).values(**row, expires_at=now + SESSION_S))
    audit.append(conn, "console-sign-in", operator.name, None, {}, now)
    return text


def find(conn: Connection, text: str, now: float) -> Session | None:
    """The session that a cookie's text stands for, unless it, or the token behind it, has ended."""
    row = conn.execute(select(_ROW).where(_ROW.c.lookup == _lookup(text))).first()
    if row is None or row.expires_at <= now or row.seen_at <= now - IDLE_S:
        return None
    operator = operators.operator_at(conn, row.token, now)
    if operator is None or not operator.may(Scope.READ):
        return None
    if now - row.seen_at >= _NOTED_S:
        conn.execute(update(_ROW).where(_ROW.c.lookup == row.lookup).values(seen_at=now))
    return Session(operator, row.lookup, row.token, row.expires_at, form_token(text))


def end(conn: Connection, session: Session, now: float, *, everywhere: bool = False) -> None:
    """Sign out: this session, or all that the same token opened."""
    mine = _ROW.c.token == session.token if everywhere else _ROW.c.lookup == session.lookup
    conn.execute(delete(_ROW).where(mine))
    audit.append(conn, "console-sign-out", session.operator.name, None, {"everywhere": everywhere}, now)


def form_token(cookie: str) -> str:
    """What forms carry against forgery by other sites: it follows from the cookie, and the cookie not from it."""
    return hmac.digest(cookie.encode(errors="surrogatepass"), b"keyvigil/console/form", "sha256").hex()


def _lookup(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
