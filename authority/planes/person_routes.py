"""Operator plane: persons whom the site's identity providers vouch for."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from authority import api, braking, operators, orders
from authority.oidc import people
from authority.operators import Operator
from authority.planes.access import OPERATOR, access
from authority.planes.described import answers
from authority.planes.gate import Demanded
from authority.planes.paging import AfterName, PageOf
from authority.refusal import Refused
from authority.roles import Scope
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

View = dict[str, Any]


class PersonRequest(BaseModel):
    """Who, as the audit log names them: `oidc:PROVIDER/SUBJECT`."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=63)]


def person_routes(app: FastAPI, context: OperatorContext) -> None:
    """GET /v1/persons, and POST /v1/persons/shut-out and /v1/persons/readmit."""
    rt, admin = context.runtime, Depends(Demanded(Scope.ADMIN))

    @app.get("/v1/persons", dependencies=[Depends(Demanded(Scope.AUDIT))])
    @answers(list[api.Person])
    @access(OPERATOR)
    async def list_persons(page: PageOf, after: AfterName = "") -> list[View]:
        """Persons of identity providers who were seen, by name."""
        found: list[View] = await context.read(lambda conn: people.listing(conn, rt.now(), after, page.limit))
        return page.full(found, itemgetter("name"))

    @app.post("/v1/persons/shut-out")
    @answers(api.Done)
    @access(OPERATOR)
    async def shut_person_out(body: PersonRequest, operator: Operator = admin) -> View:
        """Refuse a person's tokens from now on, and void what they ordered and voted for."""

        def shut_out(conn: Connection) -> bool:
            if body.name in {operator.name, operators.person_behind(conn, operator.name, rt.now())}:
                detail = "nobody shuts themselves out"
                raise Refused(ErrorCode.CONFLICT, 409, detail, "Have another administrator do it.")
            done = people.shut_out(conn, body.name, operator.name, rt.now())
            if done:
                orders.take_back(conn, body.name, operator.name, rt.now())
                braking.take_back(conn, body.name)
            return done

        if not await context.read(shut_out):
            raise _unknown("no such person was let in")
        return {"ok": True}

    @app.post("/v1/persons/readmit")
    @answers(api.Done)
    @access(OPERATOR)
    async def readmit_person(body: PersonRequest, operator: Operator = admin) -> View:
        """Take the tokens of a person again who was shut out."""
        if not await context.read(lambda conn: people.readmit(conn, body.name, operator.name, rt.now())):
            raise _unknown("no such person is shut out")
        return {"ok": True}


def _unknown(detail: str) -> Refused:
    return Refused(ErrorCode.NOT_FOUND, 404, detail, "List them with `token persons`.")
