"""What is more than one operator's affair in some sites: carried out in one place, whichever page it is ordered on."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response

from authority import enrolling, references, standing
from authority.console.desk import Visit
from authority.runtime import Push, Runtime


class Action(StrEnum):
    """An order that a policy may give to two persons."""

    PROFILE_APPROVE = "profile-approve"
    NODE_BAN = "node-ban"
    NODE_RELEASE = "node-release"
    REFERENCE_ACCEPT = "reference-accept"


Arguments = dict[str, Any]


async def give(
    visit: Visit, action: Action, arguments: Callable[[Connection], Arguments], reason: str, back: str
) -> Response:
    """Carry out an order in the name of whoever gave it, and show the page `back`; raises `Refused`."""
    rt = visit.context.runtime
    return await visit.act(lambda conn: _carry_out(conn, rt, action, arguments(conn), visit.name, reason), back)


def _carry_out(conn: Connection, rt: Runtime, action: Action, given: Arguments, actor: str, reason: str) -> list[Push]:
    now = rt.now()
    match action:
        case Action.NODE_BAN:
            return standing.ban(conn, rt, given["node_id"], actor, reason, now)
        case Action.NODE_RELEASE:
            return standing.release(conn, rt, given["node_id"], actor, reason, now)
        case Action.PROFILE_APPROVE:
            return enrolling.approve(conn, rt, given["record_id"], actor, now)
        case Action.REFERENCE_ACCEPT:
            references.accept(conn, given["value_id"], actor, now)
            return []
