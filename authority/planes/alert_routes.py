"""Operator plane: alerts, who looked at them, and where they go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, select

from authority import api, audit, views
from authority.alerts import AlertSink, Origin, Record, Severity, SinkError, acknowledge, ledger, refusals
from authority.alerts.destinations import Destination, named
from authority.alerts.ledger import Queue
from authority.operators import Operator
from authority.planes.access import OPERATOR, access
from authority.planes.described import answers
from authority.planes.paging import AfterNumber, PageOf
from authority.planes.refused_routes import refused_routes
from authority.refusal import Refused
from authority.roles import Scope
from authority.store import schema
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

View = dict[str, Any]
Demand = Callable[[Scope], Callable[[Request], Awaitable[Operator]]]
MakeDestinations = Callable[[], Sequence[Destination]]
LARGEST = 2**63 - 1


class AcknowledgeRequest(BaseModel):
    """What whoever looked at an alert found."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500)]


class DestinationRequest(BaseModel):
    """Which destination; those without a name of their own are named by their address."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=255)]


def alert_routes(
    app: FastAPI, context: OperatorContext, demand: Demand, make: MakeDestinations, origin: Origin
) -> None:
    """`make` gives destinations whose sinks are nobody else's, so that a test disturbs no delivery."""
    _list_routes(app, context, demand)
    _destination_routes(app, context, demand, make, origin)
    refused_routes(app, context, demand, make, origin)


def _list_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt, operate = context.runtime, Depends(demand(Scope.OPERATE))

    @app.get("/v1/alerts", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.Alert])
    @access(OPERATOR)
    async def list_alerts(
        page: PageOf,
        after: AfterNumber = 0,
        open: bool = False,
        severity: Severity | None = None,
    ) -> list[View]:
        """Alerts above an id, oldest first; only those that nobody acknowledged, or of one severity and worse."""
        found: list[View] = await context.read(
            lambda conn: views.alert_list(conn, after, page.limit, unacknowledged=open, severity=severity)
        )
        return page.full(found, itemgetter("id"))

    @app.post("/v1/alerts/{alert_id}/acknowledge")
    @answers(api.Done)
    @access(OPERATOR)
    async def acknowledge_alert(
        alert_id: Annotated[int, Path(ge=1, le=LARGEST)], body: AcknowledgeRequest, operator: Operator = operate
    ) -> View:
        """Note that you looked at an alert, and what you found; audited, and never undone."""

        def act(conn: Connection) -> None:
            if not acknowledge(conn, alert_id, operator.name, body.reason, rt.now()):
                refuse_acknowledgement(conn, alert_id)

        await context.read(act)
        return {"ok": True}


def refuse_acknowledgement(conn: Connection, alert_id: int) -> None:
    """Raise `Refused` for an alert that is not there, or that somebody acknowledged before."""
    row = conn.execute(select(schema.alert).where(schema.alert.c.id == alert_id)).first()
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"there is no alert {alert_id}", "List alerts with `alert list`.")
    raise Refused(
        ErrorCode.CONFLICT, 409, f"{row.acknowledged_by} acknowledged alert {alert_id} before", "Nothing is left to do."
    )


def _destination_routes(
    app: FastAPI, context: OperatorContext, demand: Demand, make: MakeDestinations, origin: Origin
) -> None:
    rt, operate = context.runtime, Depends(demand(Scope.OPERATE))

    @app.get("/v1/alert-destinations", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.AlertDestination])
    @access(OPERATOR)
    async def list_destinations() -> list[View]:
        """Where alerts go: how many each took, refused, gave up, and still waits for."""
        found: list[View] = await context.read(lambda conn: [shown(conn, each, rt.now()) for each in make()])
        return found

    @app.post("/v1/alert-destinations/test")
    @answers(api.DestinationTest)
    @access(OPERATOR)
    async def test_destination(body: DestinationRequest, operator: Operator = operate) -> View:
        """Send a test record now, and tell whether the destination took it."""
        to, name = named(make(), body.name), body.name
        if to is None:
            raise Refused(
                ErrorCode.NOT_FOUND, 404, f"no alert destination is named {name[:80]!r}", "See `alert sinks`."
            )
        result = await asyncio.to_thread(_tried, to, origin, operator.name, rt.now())
        detail = {"destination": to.name, **result}
        await context.read(lambda conn: audit.append(conn, "alert-test", operator.name, None, detail, rt.now()))
        return result


def shown(conn: Connection, to: Destination, now: float) -> View:
    """How deliveries to a destination go."""
    kind = {"format": to.form.value, "severity": to.least.value, "durable": to.backlog is None}
    aside = refusals.set_aside(conn, to.name)
    return {"name": to.name, **kind, **counted(conn, to.name, now, ledger.ALERTS), "set_aside": aside}


def counted(conn: Connection, name: str, now: float, queue: Queue) -> View:
    """How many a receiver took, refused and never got, and how many wait for it."""
    row = ledger.entry(conn, name, queue)
    counts = ("sent", "failed", "dropped", "last_sent_at", "last_error", "last_error_at")
    known = {each: getattr(row, each) if row is not None else None for each in counts}
    for each in ("sent", "failed", "dropped"):
        known[each] = known[each] or 0
    return {"waiting": ledger.waiting(conn, name, queue), **known, "stuck": ledger.stuck(conn, name, now, queue)}


def _tried(to: Destination, origin: Origin, operator: str, now: float) -> View:
    text = f"test of this destination, asked for by {operator}"
    record = Record(now, Severity.INFO, "alert-test", text, {"id": 0, "kind": "alert-test"})
    return tried(to.sink, to.write(record, origin), f"alert-test-{round(now * 1000)}")


def tried(sink: AlertSink, content: bytes, key: str) -> View:
    """Whether a sink takes a message now; it is closed afterwards."""
    begun = time.monotonic()
    try:
        sink.send(content, key)
    except SinkError as error:
        return {"ok": False, "error": str(error), "seconds": round(time.monotonic() - begun, 3)}
    finally:
        sink.close()
    return {"ok": True, "error": "", "seconds": round(time.monotonic() - begun, 3)}
