"""Operator plane: attestation results as they were issued, and who is sent them."""

from __future__ import annotations

import asyncio
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Query
from sqlalchemy import Connection

from authority import api, audit, results
from authority.operators import Operator
from authority.planes.access import OPERATOR, access
from authority.planes.alert_routes import DestinationRequest, counted, tried
from authority.planes.described import answers
from authority.planes.gate import Demanded
from authority.planes.paging import AfterNumber, PageOf
from authority.refusal import Refused
from authority.results.delivering import written
from authority.roles import Scope
from authority.views import find_node
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

View = dict[str, Any]
Since = Annotated[float | None, Query(ge=0, allow_inf_nan=False, description="POSIX seconds.")]


def result_routes(app: FastAPI, context: OperatorContext) -> None:
    """GET /v1/attestation-results, GET /v1/result-subscribers, and POST /v1/result-subscribers/test."""
    _listing(app, context)
    _subscriber_routes(app, context)


def _listing(app: FastAPI, context: OperatorContext) -> None:
    @app.get("/v1/attestation-results", dependencies=[Depends(Demanded(Scope.READ))])
    @answers(list[api.IssuedResult])
    @access(OPERATOR)
    async def list_attestation_results(
        page: PageOf,
        after: AfterNumber = 0,
        node: Annotated[str | None, Query(max_length=64)] = None,
        since: Since = None,
    ) -> list[View]:
        """Signed attestation results (EAR) above an id, oldest first; of one node, or issued since a moment."""

        def view(conn: Connection) -> list[View]:
            node_id = None if node is None else _node_id(conn, node)
            return results.listing(conn, after, page.limit, node_id, since)

        return page.full(await context.read(view), itemgetter("id"))


def _subscriber_routes(app: FastAPI, context: OperatorContext) -> None:
    rt, operate = context.runtime, Depends(Demanded(Scope.OPERATE))

    @app.get("/v1/result-subscribers", dependencies=[Depends(Demanded(Scope.READ))])
    @answers(list[api.ResultSubscriber])
    @access(OPERATOR)
    async def list_result_subscribers() -> list[View]:
        """Who is sent attestation results: how many each took, refused, gave up, and still waits for."""

        def view(conn: Connection) -> list[View]:
            names = [each.name for each in context.subscribers()]
            return [{"name": name, **counted(conn, name, rt.now(), results.QUEUE)} for name in names]

        found: list[View] = await context.read(view)
        return found

    @app.post("/v1/result-subscribers/test")
    @answers(api.DestinationTest)
    @access(OPERATOR)
    async def test_result_subscriber(body: DestinationRequest, operator: Operator = operate) -> View:
        """Send a message without a result now, and tell whether the subscriber took it."""
        to = next((each for each in context.subscribers() if each.name == body.name), None)
        if to is None:
            unknown = f"no subscriber to results is named {body.name[:80]!r}"
            raise Refused(ErrorCode.NOT_FOUND, 404, unknown, "See `result subscribers`.")
        now = rt.now()
        message = written("attestation-result-test", now, {"by": operator.name})
        result = await asyncio.to_thread(tried, to.sink, message, f"attestation-result-test-{round(now * 1000)}")
        detail = {"subscriber": to.name, **result}
        await context.read(lambda conn: audit.append(conn, "result-test", operator.name, None, detail, now))
        return result


def _node_id(conn: Connection, name: str) -> str:
    row = find_node(conn, name)
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"no node named {name!r}", "List nodes with `node list`.")
    return str(row.id)
