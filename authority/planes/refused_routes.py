"""Operator plane: alerts that a destination refuses for what they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row

from authority import api
from authority.alerts import AlertSink, Origin, SinkError, refusals
from authority.alerts.destinations import Destination, named
from authority.alerts.pump import message
from authority.operators import Operator
from authority.planes.access import OPERATOR, access
from authority.planes.described import answers
from authority.planes.paging import LARGEST, AfterNumber, PageOf
from authority.refusal import Refused
from authority.roles import Scope
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

View = dict[str, Any]
Demand = Callable[[Scope], Callable[[Request], Awaitable[Operator]]]
MakeDestinations = Callable[[], Sequence[Destination]]


class RefusedRequest(BaseModel):
    """Which alert at which destination, and why."""

    model_config = ConfigDict(extra="forbid")

    destination: Annotated[str, Field(min_length=1, max_length=255)]
    alert: Annotated[int, Field(ge=1, le=LARGEST)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]


def refused_routes(
    app: FastAPI, context: OperatorContext, demand: Demand, make: MakeDestinations, origin: Origin
) -> None:
    """`make` as for the other routes of alerts."""
    rt, operate = context.runtime, Depends(demand(Scope.OPERATE))

    @app.get("/v1/refused-alerts", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.RefusedAlert])
    @access(OPERATOR)
    async def list_refused(page: PageOf, after: AfterNumber = 0) -> list[View]:
        """Alerts that a destination refuses for what they are: those still tried, and those set aside."""
        found = await context.read(lambda conn: refusals.listing(conn, after, page.limit))
        return page.full(found, itemgetter("id"))

    @app.post("/v1/refused-alerts/retry")
    @answers(api.DestinationTest)
    @access(OPERATOR)
    async def retry_refused(body: RefusedRequest, operator: Operator = operate) -> View:
        """Send an alert that is set aside once more, now; taken or not, the answer says so."""
        where = body.destination, body.alert
        row: Row[Any] = await context.read(lambda conn: refusals.find(conn, *where))
        to = named(make(), body.destination)
        if to is None:
            detail = f"no alert destination is named {body.destination[:80]!r} any more"
            raise Refused(ErrorCode.NOT_FOUND, 404, detail, "Discard the alert, or name the destination again.")
        result = await asyncio.to_thread(_sent, to, row, origin)
        if result["ok"]:
            name, reason, now = operator.name, body.reason, rt.now()
            await context.read(lambda conn: refusals.taken(conn, *where, name, reason, now))
        return result

    @app.post("/v1/refused-alerts/discard")
    @answers(api.Done)
    @access(OPERATOR)
    async def discard_refused(body: RefusedRequest, operator: Operator = operate) -> View:
        """Let an alert go that is set aside; it stays in the list of alerts."""

        def discard(conn: Connection) -> None:
            refusals.discard(conn, body.destination, body.alert, operator.name, body.reason, rt.now())

        await context.read(discard)
        return {"ok": True}


def _sent(to: Destination, row: Row[Any], origin: Origin) -> View:
    begun, error = time.monotonic(), ""
    try:
        error = _tried(to.sink, *message(to, row, origin))
    except Exception as fault:  # noqa: BLE001 - whatever keeps it from being written, as in the pump
        error = f"it cannot be written: {type(fault).__name__}"
    return {"ok": not error, "error": error, "seconds": round(time.monotonic() - begun, 3)}


def _tried(sink: AlertSink, content: bytes, key: str) -> str:
    try:
        sink.send(content, key)
    except SinkError as error:
        return str(error)
    finally:
        sink.close()
    return ""
