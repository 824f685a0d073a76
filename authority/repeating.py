"""Idempotency keys: a request that is sent again is carried out once (draft-ietf-httpapi-idempotency-key-header-06).

A key is claimed before the request is carried out, so that no course of events carries it out twice; what succeeded is
kept with its answer for `KEPT_S`. An answer that holds a secret is not kept, only that there was one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from authority.refusal import Refused
from authority.store import schema_api
from protocol.codec import length_prefixed
from protocol.problems import ErrorCode

KEPT_S = 86400.0
MOST_KEYS = 1000
"""Keys of one caller that are remembered at once."""
LONGEST_ANSWER = 64 * 1024
_KEY = re.compile(r'"[\x21\x23-\x5b\x5d-\x7e]{1,255}"|[\x21\x23-\x5b\x5d-\x7e]{1,255}')
_ROW = schema_api.repeatable


@dataclass(frozen=True)
class Repeatable:
    """A request with a key: who sent it, and a hash of what it asks."""

    caller: str
    key: str
    request: str

    @property
    def lookup(self) -> str:
        """Where it stands in the table: another caller's key is another key."""
        return hashlib.sha256(length_prefixed(self.caller.encode(), self.key.encode())).hexdigest()


@dataclass(frozen=True)
class Kept:
    """The answer of before."""

    status: int
    body: str


def repeatable(caller: str, key: str, method: str, target: str, body: bytes) -> Repeatable:
    """The request as it is told from others; raises `Refused` for what is no key. The quotes of a key are not of it."""
    if not _KEY.fullmatch(key):
        detail = "an idempotency key has 1 to 255 printable ASCII characters and no spaces"
        raise Refused(ErrorCode.MALFORMED, 400, detail, "Send a UUID.")
    asked = length_prefixed(method.encode(), target.encode(), body)
    return Repeatable(caller, key.strip('"'), hashlib.sha256(asked).hexdigest())


def claim(conn: Connection, what: Repeatable, now: float) -> Kept | None:
    """The answer of before, or nothing for a request that is to be carried out now.

    Raises `Refused`: 422 for another request under a used key; 409 where the first is not answered yet, was
    interrupted, or had an answer that is not kept; 429 for too many keys at once.
    """
    conn.execute(delete(_ROW).where(_ROW.c.expires_at <= now))
    row = conn.execute(select(_ROW).where(_ROW.c.lookup == what.lookup)).first()
    if row is not None:
        return _kept(row, what)
    mine = select(func.count()).select_from(_ROW).where(_ROW.c.caller == what.caller)
    if (conn.scalar(mine) or 0) >= MOST_KEYS:
        detail = f"more than {MOST_KEYS} idempotency keys in a day"
        raise Refused(ErrorCode.TOO_MANY_TRIES, 429, detail, "Leave the key out, or wait.", retry_after_s=3600)
    values = {"lookup": what.lookup, "caller": what.caller, "request": what.request}
    conn.execute(insert(_ROW).values(**values, begun_at=now, expires_at=now + KEPT_S))
    return None


def keep(conn: Connection, what: Repeatable, status: int, answer: bytes | None) -> None:
    """Note that a request succeeded; `answer` is nothing where it holds a secret."""
    text = None if answer is None or len(answer) > LONGEST_ANSWER else answer.decode()
    conn.execute(update(_ROW).where(_ROW.c.lookup == what.lookup).values(status=status, answer=text))


def forget(conn: Connection, what: Repeatable) -> None:
    """Give the key of a request free that was refused, or failed and changed nothing."""
    conn.execute(delete(_ROW).where((_ROW.c.lookup == what.lookup) & _ROW.c.status.is_(None)))


def _kept(row: Row[Any], what: Repeatable) -> Kept:
    if row.request != what.request:
        detail = "this idempotency key was used for another request"
        raise Refused(ErrorCode.CONFLICT, 422, detail, "Use a new key for every request.")
    if row.status is None:
        detail = "a request with this idempotency key was begun, and its end is not known"
        raise Refused(ErrorCode.CONFLICT, 409, detail, "Wait; then see the audit log whether it was carried out.")
    if row.answer is None:
        detail = "the request was carried out before; its answer, which may hold a secret, is not kept"
        raise Refused(ErrorCode.CONFLICT, 409, detail, "Take back what it made, and ask anew with another key.")
    return Kept(row.status, row.answer)
