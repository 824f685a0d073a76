"""Operator plane: how rotations stand, and orders to rotate."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row

from authority import api
from authority.keys import rotations
from authority.operators import Operator
from authority.planes.access import OPERATOR, access
from authority.planes.described import answers
from authority.planes.paging import AfterName, PageOf
from authority.roles import Scope

if TYPE_CHECKING:
    from authority.planes.operator_plane import Demand, OperatorContext

View = dict[str, Any]
NodeOf = Callable[[Connection, str], Row[Any]]
NetworkOf = Callable[[Connection, str], str]


class RotationOrder(BaseModel):
    """Whose keys; all that the network's members send under, unless one node is named."""

    model_config = ConfigDict(extra="forbid")
    node: str | None = None


class EmergencyOrder(RotationOrder):
    """Why the old keys go at once; it goes into the audit log and an alert."""

    reason: str = Field(min_length=1, max_length=500)


def rotation_routes(
    app: FastAPI, context: OperatorContext, demand: Demand, node_of: NodeOf, network_of: NetworkOf
) -> None:
    """GET /v1/rotations and POST /v1/networks/{network}/rotation/…."""
    rt, operate = context.runtime, Depends(demand(Scope.OPERATE))

    @app.get("/v1/rotations", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.RotationProgress])
    @access(OPERATOR)
    async def show_rotations(page: PageOf, network: str | None = None, after: AfterName = "") -> list[View]:
        """Pairs by phase, who is waited for, pairs given up, and when the next rotation is due."""

        def shown(conn: Connection) -> list[View]:
            return rotations.progress(conn, rt, None if network is None else network_of(conn, network), rt.now())

        return page.cut(await context.read(shown), after, itemgetter("network"))

    @app.post("/v1/networks/{network}/rotation/start")
    @answers(api.Done)
    @access(OPERATOR)
    async def start_rotation(network: str, body: RotationOrder, operator: Operator = operate) -> View:
        """A new epoch now; the old keys go when the new ones are in use."""
        return await context.act(
            lambda conn: rotations.start(
                conn, rt, network_of(conn, network), _id(node_of, conn, body.node), operator.name, rt.now()
            )
        )

    @app.post("/v1/networks/{network}/rotation/emergency")
    @answers(api.Done)
    @access(OPERATOR)
    async def replace_keys_at_once(network: str, body: EmergencyOrder, operator: Operator = operate) -> View:
        """A new epoch now, and the old keys go at once, whoever has not got the new ones yet."""
        return await context.act(
            lambda conn: rotations.emergency(
                conn, rt, network_of(conn, network), _id(node_of, conn, body.node), body.reason, operator.name, rt.now()
            )
        )


def _id(node_of: NodeOf, conn: Connection, name: str | None) -> str | None:
    return None if name is None else str(node_of(conn, name).id)
