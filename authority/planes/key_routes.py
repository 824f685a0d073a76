"""Operator plane: key versions of networks, and the compromise floor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from authority import api
from authority.keys import networks
from authority.operators import Operator
from authority.planes.access import OPERATOR, access
from authority.planes.described import answers
from authority.roles import Scope

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

View = dict[str, Any]
Demand = Callable[[Scope], Callable[[Request], Awaitable[Operator]]]
NetworkName = Callable[[Connection, str], str]
LARGEST_VERSION = 2**31 - 1


class FloorRequest(BaseModel):
    """The oldest version of a network that may still be used."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, le=LARGEST_VERSION)


def version_routes(app: FastAPI, context: OperatorContext, demand: Demand, named: NetworkName) -> None:
    """Key versions; `named` refuses what is no network."""
    operate, rt = Depends(demand(Scope.OPERATE)), context.runtime

    @app.post("/v1/networks/{network}/stage", status_code=201)
    @answers(api.StagedVersion)
    @access(OPERATOR)
    async def stage_version(network: str, operator: Operator = operate) -> View:
        """A version made ahead, which takes force with the next rotation."""
        number: int = await context.read(
            lambda conn: networks.stage_version(conn, rt, named(conn, network), operator.name, rt.now())
        )
        return {"network": network, "version": number}

    @app.post("/v1/networks/{network}/floor")
    @answers(api.Done)
    @access(OPERATOR)
    async def raise_floor(network: str, body: FloorRequest, operator: Operator = operate) -> View:
        """Destroy every version below, and use none of them again."""
        return await context.act(
            lambda conn: networks.set_floor(conn, rt, named(conn, network), body.version, operator.name, rt.now())
        )
