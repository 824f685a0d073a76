"""Operators: scoped bearer tokens of which only the hash is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, insert, select, update

from authority.runtime import Runtime
from authority.store import schema
from protocol.codec import b64url

PREFIX = "kvo1."


class Scope(StrEnum):
    """What a token allows; `ADMIN` allows everything."""

    READ = "read"
    OPERATE = "operate"
    APPROVE = "approve"
    SIGNAL = "signal"
    METRICS = "metrics"
    ADMIN = "admin"


@dataclass(frozen=True)
class Operator:
    """Who is behind a request of the operator plane."""

    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether this operator's token has `scope`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


def create_operator_token(conn: Connection, rt: Runtime, name: str, scopes: Sequence[Scope], lifetime_s: float) -> str:
    """A new token for `name`; this text is its only copy."""
    text = PREFIX + b64url(rt.random(32))
    now = rt.now()
    row = {"lookup": _lookup(text), "name": name, "scopes": json.dumps([*scopes]), "created_at": now}
    conn.execute(insert(schema.operator_token).values(**row, expires_at=now + lifetime_s))
    return text


def find_operator(conn: Connection, text: str, now: float) -> Operator | None:
    """The operator whose unexpired, unrevoked token `text` is."""
    row = conn.execute(select(schema.operator_token).where(schema.operator_token.c.lookup == _lookup(text))).first()
    if row is None or row.expires_at <= now or row.revoked_at is not None:
        return None
    return Operator(row.name, frozenset(Scope(scope) for scope in json.loads(row.scopes)))


def name_is_taken(conn: Connection, name: str, now: float) -> bool:
    """Whether an unexpired, unrevoked token has this name, which tells its reports from another's."""
    row = schema.operator_token
    mine = (row.c.name == name) & (row.c.expires_at > now) & row.c.revoked_at.is_(None)
    return conn.execute(select(row.c.lookup).where(mine)).first() is not None


def revoke_operator_token(conn: Connection, name: str, now: float) -> bool:
    """End the token of this name at once; whether there was one."""
    row = schema.operator_token
    mine = (row.c.name == name) & (row.c.expires_at > now) & row.c.revoked_at.is_(None)
    return conn.execute(update(row).where(mine).values(revoked_at=now)).rowcount > 0


def revoke_every_token(conn: Connection, now: float) -> int:
    """End every token at once; how many were in force."""
    row = schema.operator_token
    in_force = (row.c.expires_at > now) & row.c.revoked_at.is_(None)
    return conn.execute(update(row).where(in_force).values(revoked_at=now)).rowcount


def _lookup(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
