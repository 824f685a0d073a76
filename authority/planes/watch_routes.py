"""Operator plane: metrics for Prometheus, and probes that turn red."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from starlette.responses import JSONResponse, Response

from authority import api
from authority.metrics import CONTENT_TYPE
from authority.planes.access import ANONYMOUS, OPERATOR, access
from authority.planes.described import answers
from authority.refusal import Refused
from authority.roles import Scope
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.health import Report
    from authority.planes.operator_plane import Demand, OperatorContext
    from authority.watching import Watch

View = dict[str, Any]


def watch_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    """`/metrics` and `/v1/health` for tokens, `/healthz` and `/readyz` for everybody."""
    _token_routes(app, context, demand)
    _probe_routes(app, context)


def _token_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    @app.get(
        "/metrics", dependencies=[Depends(demand(Scope.METRICS))], response_class=Response, include_in_schema=False
    )
    @access(OPERATOR)
    async def metrics() -> Response:
        """Metrics in Prometheus' text format; for a token with the scope `metrics`."""
        return Response(await _watch(context).scrape(len(context.hub.connected())), media_type=CONTENT_TYPE)

    @app.get("/v1/health", dependencies=[Depends(demand(Scope.READ))])
    @answers(api.Connected)
    @access(OPERATOR)
    async def health() -> View:
        """Everything that is not in order, with reason and remedy, and how many nodes are connected."""
        report = await _watch(context).monitor.report()
        return {"ok": report.ready, "connected": len(context.hub.connected()), **report.as_dict()}


def _probe_routes(app: FastAPI, context: OperatorContext) -> None:
    @app.get("/healthz", response_class=JSONResponse, include_in_schema=False)
    @access(ANONYMOUS)
    async def healthz() -> JSONResponse:
        """200 if everything is in order, 503 with the names of the checks that are not; reasons need a token."""
        report = await _watch(context).monitor.report()
        return _shown(report, report.healthy)

    @app.get("/readyz", response_class=JSONResponse, include_in_schema=False)
    @access(ANONYMOUS)
    async def readyz() -> JSONResponse:
        """200 if requests can be answered: what only needs somebody's attention does not count."""
        report = await _watch(context).monitor.report()
        return _shown(report, report.ready)


def _shown(report: Report, good: bool) -> JSONResponse:
    body = {"healthy": report.healthy, "ready": report.ready, "failing": report.failing}
    return JSONResponse(body, 200 if good else 503, headers={"cache-control": "no-store"})


def _watch(context: OperatorContext) -> Watch:
    if context.watch is None:
        raise Refused(ErrorCode.UNAVAILABLE, 503, "nothing watches this authority", "Start it from a state folder.")
    return context.watch
