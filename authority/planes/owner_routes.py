"""Operator plane: the authorisation values of a node's TPM, for maintenance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request
from sqlalchemy import Connection, Row

from authority import api, owning
from authority.operators import Operator
from authority.planes.access import OPERATOR, access, secret_answer
from authority.planes.described import answers
from authority.roles import Scope

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

Demand = Callable[[Scope], Callable[[Request], Awaitable[Operator]]]
FindNode = Callable[[Connection, str], Row[Any]]


def owner_route(app: FastAPI, context: OperatorContext, demand: Demand, node: FindNode) -> None:
    """POST /v1/nodes/{name}/tpm-auth, for the scope that allows everything."""
    rt, admin = context.runtime, Depends(demand(Scope.ADMIN))

    @app.post("/v1/nodes/{name}/tpm-auth")
    @secret_answer
    @answers(api.TpmValues)
    @access(OPERATOR)
    async def release_tpm_auth(name: str, operator: Operator = admin) -> dict[str, str]:
        """The owner's and the lockout's authorisation value of the node's TPM, in hexadecimal."""
        values = await context.read(
            lambda conn: owning.release_values(conn, rt, node(conn, name).id, operator.name, rt.now())
        )
        return {"owner": values.owner.hex(), "lockout": values.lockout.hex()}
