"""Operators: scoped bearer tokens of which only the hash is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from authority import audit
from authority.roles import Scope, draw_token, lookup_of
from authority.runtime import Refusal, Runtime
from authority.store import schema

PERSON_PREFIX = "oidc:"
"""What the names of persons begin with whom an identity provider vouches for; no token's name has a colon."""


class Kind(StrEnum):
    """What a credential is: a bearer token, or a certificate of TLS."""

    TOKEN = "token"  # noqa: S105 - the name of a kind
    CERTIFICATE = "certificate"


@dataclass(frozen=True)
class Operator:
    """Who is behind a request of the operator plane."""

    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether this operator's token has `scope`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


def create_operator_token(
    conn: Connection, rt: Runtime, name: str, scopes: Sequence[Scope], lifetime_s: float, identity: str = ""
) -> str:
    """A new token for `name`, of whom is said by `identity`; this text is its only copy."""
    text = draw_token(rt.random)
    now = rt.now()
    row = {
        "lookup": lookup_of(text),
        "name": name,
        "scopes": json.dumps([*scopes]),
        "created_at": now,
        "identity": identity,
    }
    conn.execute(insert(schema.operator_token).values(**row, expires_at=now + lifetime_s))
    return text


def register(conn: Connection, given: Mapping[str, Any], actor: str, now: float) -> dict[str, Any]:
    """Note a credential of which only the hash is known here: `name`, `kind`, `scopes`, `lifetime_s`, `lookup`.

    `identity`, where it is given, is whose it is: `oidc:PROVIDER/SUBJECT` as an identity provider knows them, or
    `person:NAME`.
    Raises `Refused` for a name or a credential that is taken.
    """
    name, scopes, kind = given["name"], given["scopes"], Kind(given["kind"])
    row, lookup = schema.operator_token, given["lookup"]
    known = conn.execute(select(row.c.lookup).where(row.c.lookup == lookup)).first()
    if known is not None or name_is_taken(conn, name, now):
        raise Refusal(f"there is a token named {name} already, or this very one", "Choose another name and token.")
    identity = given.get("identity", "")
    values = {"lookup": lookup, "name": name, "scopes": json.dumps(scopes), "kind": kind.value, "identity": identity}
    conn.execute(insert(row).values(**values, created_at=now, expires_at=now + given["lifetime_s"]))
    detail = {"name": name, "scopes": scopes, "kind": kind.value} | ({"identity": identity} if identity else {})
    audit.append(conn, "operator-token", actor, None, detail, now)
    return {"name": name, "scopes": scopes, "expires_at": now + given["lifetime_s"]}


def find_operator(conn: Connection, text: str, now: float) -> Operator | None:
    """The operator whose unexpired, unrevoked token `text` is."""
    return _found(conn, Kind.TOKEN, lookup_of(text), now)


def operator_at(conn: Connection, lookup: str, now: float) -> Operator | None:
    """As `find_operator`, for a token of which only the stored hash is at hand."""
    return _found(conn, Kind.TOKEN, lookup, now)


def find_by_certificate(conn: Connection, sha256: str, now: float) -> Operator | None:
    """The operator whose certificate has this SHA-256 (hexadecimal); that it is a good one TLS has seen to."""
    return _found(conn, Kind.CERTIFICATE, sha256, now)


def _of(name: str, now: float) -> ColumnElement[bool]:
    row = schema.operator_token
    return (row.c.name == name) & (row.c.expires_at > now) & row.c.revoked_at.is_(None)


def _found(conn: Connection, kind: Kind, lookup: str, now: float) -> Operator | None:
    wanted = (schema.operator_token.c.lookup == lookup) & (schema.operator_token.c.kind == kind.value)
    row = conn.execute(select(schema.operator_token).where(wanted)).first()
    if row is None or row.expires_at <= now or row.revoked_at is not None:
        return None
    return Operator(row.name, frozenset(Scope(scope) for scope in json.loads(row.scopes)))


def token_list(conn: Connection, now: float) -> list[dict[str, Any]]:
    """Tokens in force by name: whose, of what kind, for what, until when."""
    row = schema.operator_token
    valid = (row.c.expires_at > now) & row.c.revoked_at.is_(None)
    return [
        {
            "name": each.name,
            "kind": each.kind,
            "identity": each.identity,
            "scopes": json.loads(each.scopes),
            "created_at": each.created_at,
            "expires_at": each.expires_at,
        }
        for each in conn.execute(select(row).where(valid).order_by(row.c.name, row.c.lookup))
    ]


def name_is_taken(conn: Connection, name: str, now: float) -> bool:
    """Whether an unexpired, unrevoked token has this name, which tells its reports from another's."""
    return conn.execute(select(schema.operator_token.c.lookup).where(_of(name, now))).first() is not None


def is_in_force(conn: Connection, name: str, said_at: float, now: float) -> bool:
    """Whether what this operator ordered or voted for at `said_at` stands: their token is good, or they were seen.

    A token that was made later is another's, whatever its name. The second is for persons of an identity provider,
    whose tokens are good for minutes.
    """
    if not name.startswith(PERSON_PREFIX):
        row = schema.operator_token
        mine = _of(name, now) & (row.c.created_at <= said_at)
        return conn.execute(select(row.c.lookup).where(mine)).first() is not None
    row = schema.oidc_person
    standing = (row.c.name == name) & (row.c.stands_until > now) & row.c.revoked_at.is_(None)
    return conn.execute(select(row.c.name).where(standing)).first() is not None


def person_behind(conn: Connection, name: str, now: float) -> str | None:
    """Whom an operator counts as where two persons are asked for: two credentials of one person are one.

    It is whom an identity provider vouches for, or else the identity that their credential in force names. `None` is
    somebody whom nobody named, and who may be anybody.
    """
    if name.startswith(PERSON_PREFIX):
        return name
    return conn.scalar(select(schema.operator_token.c.identity).where(_of(name, now))) or None


def persons_who_may_approve(conn: Connection, now: float) -> set[str]:
    """Known persons who may be the second of two: by a credential in force, or as an identity provider said last."""
    row, person = schema.operator_token, schema.oidc_person
    in_force = (row.c.expires_at > now) & row.c.revoked_at.is_(None) & (row.c.identity != "")
    said = [*conn.execute(select(row.c.identity, row.c.scopes).where(in_force))]
    said += conn.execute(select(person.c.name, person.c.scopes).where(person.c.revoked_at.is_(None)))
    return {name for name, scopes in said if {Scope.APPROVE, Scope.ADMIN} & {*json.loads(scopes)}}


def unnamed(conn: Connection, name: str, now: float) -> str:
    """The lookup of the credential in force of this name; raises `Refusal` for none, or for one with an identity."""
    row = schema.operator_token
    found = conn.execute(select(row.c.lookup, row.c.identity).where(_of(name, now))).first()
    if found is None:
        raise Refusal(f"there is no token named {name} in force", "See `token list`.")
    if found.identity:
        raise Refusal(f"the token {name} is of {found.identity} already", "Revoke it, and make another.")
    return str(found.lookup)


def say_whose(conn: Connection, given: Mapping[str, Any], actor: str, now: float) -> dict[str, Any]:
    """Note whose the credential `name` with `lookup` is, once: `identity`. Raises `Refusal`."""
    if unnamed(conn, given["name"], now) != given["lookup"]:
        raise Refusal(f"the token {given['name']} is another than it was", "Reject it, and ask for it anew.")
    row, identity = schema.operator_token, given["identity"]
    conn.execute(update(row).where(row.c.lookup == given["lookup"]).values(identity=identity))
    audit.append(conn, "operator-token-identity", actor, None, {"name": given["name"], "identity": identity}, now)
    return {"ok": True}


def revoke_operator_token(conn: Connection, name: str, now: float) -> bool:
    """End the token of this name at once; whether there was one."""
    return conn.execute(update(schema.operator_token).where(_of(name, now)).values(revoked_at=now)).rowcount > 0


def revoke_tokens_of(conn: Connection, identity: str, now: float) -> list[str]:
    """End every credential that names this person at once; their names."""
    row = schema.operator_token
    theirs = (row.c.identity == identity) & (row.c.expires_at > now) & row.c.revoked_at.is_(None)
    names = [*conn.scalars(select(row.c.name).where(theirs).order_by(row.c.name))]
    conn.execute(update(row).where(theirs).values(revoked_at=now))
    return names


def revoke_every_token(conn: Connection, now: float) -> int:
    """End every token at once, and what other persons ordered and voted for; how many tokens were in force."""
    conn.execute(update(schema.oidc_person).values(stands_until=now))
    conn.execute(delete(schema.person_session))
    row = schema.operator_token
    in_force = (row.c.expires_at > now) & row.c.revoked_at.is_(None)
    return conn.execute(update(row).where(in_force).values(revoked_at=now)).rowcount
