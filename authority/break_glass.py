"""Break-glass: a credential, made beforehand and sealed, that admits one operator for an hour when all else fails.

The authority keeps a hash of it. It is good once, whoever uses it says who they are and why, and everybody hears of it.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from sqlalchemy import Connection, insert, select, update

from authority import audit
from authority.alerts import raise_alert
from authority.operators import create_operator_token
from authority.refusal import Refused
from authority.roles import Scope
from authority.runtime import Runtime
from authority.store.schema_break_glass import break_glass as _row
from protocol.problems import ErrorCode

SECRET_BYTES = 32
ADMITTED_S = 3600.0
_CONTEXT = b"keyvigil/break-glass/1"
_log = logging.getLogger(__name__)


def make(conn: Connection, identifier: str, secret: bytes, actor: str, now: float) -> None:
    """Let `secret` (32 random bytes) admit somebody once; `identifier` is what people call it."""
    conn.execute(insert(_row).values(id=identifier, lookup=_lookup(secret), made_at=now))
    audit.append(conn, "break-glass-made", actor, None, {"id": identifier}, now)


def use(conn: Connection, rt: Runtime, secret: bytes, operator: str, reason: str, now: float) -> tuple[str, float]:
    """A token with every scope for an hour, and when it ends; raises `Refused`.

    A critical alert and a record say who asked and why, whether it is given or refused.
    """
    found = conn.execute(select(_row).where(_row.c.lookup == _lookup(secret))).first()
    detail = {"id": found.id if found is not None else "", "operator": operator, "reason": reason}
    if found is None or found.ended_at is not None:
        cause = "unknown" if found is None else "used or voided before"
        audit.append(conn, "break-glass-refused", "anonymous", None, {**detail, "cause": cause}, now)
        text = f"a break-glass credential was refused: {cause}"
        raise_alert(conn, "critical", "break-glass-refused", None, text, detail, now)
        raise Refused(ErrorCode.UNAUTHENTICATED, 401, "this credential admits nobody", "Use another sealed one.")
    mine = _row.c.id == found.id
    conn.execute(update(_row).where(mine).values(ended_at=now, operator=operator, reason=reason))
    name, whose = f"break-glass-{found.id}", f"glass:{found.id}"
    token = create_operator_token(conn, rt, name, [Scope.ADMIN], ADMITTED_S, whose)
    audit.append(conn, "break-glass-used", operator, None, detail, now)
    text = f"the glass was broken by {operator}: {reason}; every right for an hour"
    raise_alert(conn, "critical", "break-glass-used", None, text, detail, now)
    _log.critical("break-glass", extra={"credential": found.id, "operator": operator})
    return token, now + ADMITTED_S


def void(conn: Connection, identifier: str | None, actor: str, now: float) -> int:
    """End one unused credential, or all of them; how many."""
    unused = _row.c.ended_at.is_(None)
    wanted = unused if identifier is None else unused & (_row.c.id == identifier)
    done = conn.execute(update(_row).where(wanted).values(ended_at=now)).rowcount
    if done:
        audit.append(conn, "break-glass-voided", actor, None, {"id": identifier or "all", "count": done}, now)
    return done


def listed(conn: Connection) -> list[dict[str, Any]]:
    """Every credential that was ever made, oldest first; nothing that admits anybody."""
    query = select(_row.c.id, _row.c.made_at, _row.c.ended_at, _row.c.operator, _row.c.reason)
    return [dict(each._mapping) for each in conn.execute(query.order_by(_row.c.made_at, _row.c.id))]


def _lookup(secret: bytes) -> str:
    return hashlib.sha256(_CONTEXT + secret).hexdigest()
