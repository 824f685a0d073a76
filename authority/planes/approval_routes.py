"""Operator plane: what waits for a second operator."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Path
from pydantic import BaseModel, ConfigDict, Field

from authority import api, orders
from authority.operators import Operator
from authority.planes.access import OPERATOR, access
from authority.planes.described import answers
from authority.planes.paging import AfterNumber, PageOf
from authority.roles import Scope

if TYPE_CHECKING:
    from authority.planes.operator_plane import Demand, OperatorContext

View = dict[str, Any]
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]


class DecisionRequest(BaseModel):
    """Why an operator decides so; it goes into the audit log."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", max_length=500)


def approval_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    """GET /v1/approvals, and POST /v1/approvals/{approval_id}/approve and …/reject."""
    _reading(app, context, demand)
    rt, approver = context.runtime, Depends(demand(Scope.APPROVE))

    @app.post("/v1/approvals/{approval_id}/approve")
    @answers(api.Done)
    @access(OPERATOR)
    async def approve_order(approval_id: Number, body: DecisionRequest, operator: Operator = approver) -> View:
        """Carry out what another operator asked for, who could not do it alone."""
        now = rt.now()
        done = await context.store.arun(
            lambda conn: orders.approve(conn, rt, approval_id, operator, body.reason, now, context.load_policy)
        )
        await context.hub.push(done.pushes)
        return done.view

    @app.post("/v1/approvals/{approval_id}/reject")
    @answers(api.Done)
    @access(OPERATOR)
    async def reject_order(approval_id: Number, body: DecisionRequest, operator: Operator = approver) -> View:
        """Close an order that is not to be carried out; whoever asked may take it back."""
        now = rt.now()
        await context.store.arun(lambda conn: orders.reject(conn, approval_id, operator, body.reason, now))
        return {"ok": True}


def _reading(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    now = context.runtime.now

    @app.get("/v1/approvals", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.Approval])
    @access(OPERATOR)
    async def list_approvals(
        page: PageOf, state: orders.OrderState | None = None, after: AfterNumber = 0
    ) -> list[View]:
        """Orders that wait for a second operator, or did, oldest first."""
        found = await context.read(lambda conn: orders.listing(conn, now(), state, after, page.limit))
        return page.full(found, itemgetter("id"))

    @app.get("/v1/approvals/{approval_id}", dependencies=[Depends(demand(Scope.READ))])
    @answers(api.Approval)
    @access(OPERATOR)
    async def show_approval(approval_id: Number) -> View:
        """One order."""
        found: View = await context.read(lambda conn: orders.detail(conn, approval_id, now()))
        return found
