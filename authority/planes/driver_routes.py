"""Operator plane: drivers that may stand in for those which profiles were enrolled with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.responses import Response

from authority import api, driver_followers
from authority.operators import Operator
from authority.orders import Action, Order
from authority.planes.access import OPERATOR, access
from authority.planes.described import answers, second_operator
from authority.planes.paging import AfterNumber, PageOf
from authority.roles import Scope
from authority.runtime import Push

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

View = dict[str, Any]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FollowerId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class FollowRequest(BaseModel):
    """`new` may stand in for `old`: SHA-256 of driver code, as `keyvigil devices` prints them."""

    model_config = ConfigDict(extra="forbid")

    old: Sha256
    new: Sha256
    reason: str = Field("", max_length=500)


class WithdrawRequest(BaseModel):
    """Why it is taken back."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field("", max_length=500)


def driver_routes(
    app: FastAPI, context: OperatorContext, demand: Callable[[Scope], Callable[[Request], Awaitable[Operator]]]
) -> None:
    """Add the routes."""
    rt, approver = context.runtime, Depends(demand(Scope.APPROVE))

    @app.get("/v1/drivers/followers", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.DriverFollower])
    @access(OPERATOR)
    async def list_driver_followers(page: PageOf, after: AfterNumber = 0) -> list[View]:
        """Drivers that may stand in for others, and those that may no longer, oldest first."""
        found = await context.read(lambda conn: driver_followers.listing(conn, after, page.limit))
        return page.full(found, itemgetter("id"))

    @app.post("/v1/drivers/followers")
    @second_operator
    @answers(api.Done)
    @access(OPERATOR)
    async def follow_driver(body: FollowRequest, response: Response, operator: Operator = approver) -> View:
        """Let a driver stand in for the one that profiles were enrolled with, at every node."""

        def order(_: Connection) -> Order:
            arguments = {"old": body.old, "new": body.new}
            return Order(Action.DRIVER_FOLLOW, f"{body.new} after {body.old}", arguments, body.reason)

        return await context.order(order, operator, response)

    @app.post("/v1/drivers/followers/{follower_id}/withdraw")
    @answers(api.Done)
    @access(OPERATOR)
    async def withdraw_driver(follower_id: FollowerId, body: WithdrawRequest, operator: Operator = approver) -> View:
        """Let it stand in no longer; evidence of nodes that run it is refused from then on."""

        def act(conn: Connection) -> list[Push]:
            driver_followers.withdraw(conn, follower_id, body.reason, operator.name, rt.now())
            return []

        return await context.act(act)
