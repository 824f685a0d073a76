"""Operator plane: how nodes and administrators come in, and administrators' profiles."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row
from starlette.responses import Response

from authority import api, audit, enrolling, views
from authority.operators import Operator
from authority.orders import Action, Order
from authority.planes.access import OPERATOR, access, secret_answer
from authority.planes.described import answers, second_operator
from authority.planes.paging import AfterName, PageOf
from authority.roles import Scope

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext
    from authority.planes.operator_plane import Demand

View = dict[str, Any]
FindNode = Callable[[Connection, str], Row[Any]]
CheckName = Callable[[str, str], str]
ProfileState = Literal["open", "pending", "active", "revoked", "erased"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class JoinTokenRequest(_Body):
    """A token that lets one node join under `name`."""

    name: str
    lab: bool = False
    lifetime_s: float = Field(3600, ge=60, le=7 * 86400)


class TicketRequest(_Body):
    """A ticket that lets the administrator enrol at `node`."""

    node: str
    lifetime_s: float = Field(3600, ge=60, le=7 * 86400)


def onboarding_routes(
    app: FastAPI, context: OperatorContext, demand: Demand, node: FindNode, checked: CheckName
) -> None:
    """Join tokens and tickets; `node` finds a node by its name, `checked` refuses what is no name."""
    rt = context.runtime
    approver = Depends(demand(Scope.APPROVE))

    @app.post("/v1/join-tokens", status_code=201)
    @secret_answer
    @answers(api.JoinToken)
    @access(OPERATOR)
    async def create_join_token(body: JoinTokenRequest, operator: Operator = approver) -> View:
        """A one-time token for a node; it is shown only here."""
        name = checked("node", body.name)

        def create(conn: Connection) -> str:
            audit.append(conn, "join-token", operator.name, None, {"name": name, "lab": body.lab}, rt.now())
            return enrolling.create_join_token(
                conn, rt, name, lab=body.lab, ttl=body.lifetime_s, ca_sha256=context.ca_sha256, now=rt.now()
            )

        return {"name": name, "token": await context.read(create), "expires_at": rt.now() + body.lifetime_s}

    @app.post("/v1/admins/{admin}/tickets", status_code=201)
    @secret_answer
    @answers(api.Ticket)
    @access(OPERATOR)
    async def create_ticket(admin: str, body: TicketRequest, operator: Operator = approver) -> View:
        """A one-time ticket and PIN for an administrator; hand them over on different ways."""
        name = checked("administrator", admin)

        def create(conn: Connection) -> tuple[str, str]:
            node_id = node(conn, body.node).id
            made = enrolling.create_ticket(conn, rt, name, node_id, body.lifetime_s, rt.now())
            audit.append(conn, "ticket", operator.name, node_id, {"admin": name}, rt.now())
            return made

        ticket, pin = await context.read(create)
        return {"admin": name, "node": body.node, "ticket": ticket, "pin": pin}


def profile_routes(app: FastAPI, context: OperatorContext, demand: Demand, find: FindNode) -> None:
    """Profiles; `find` finds a node by its name."""
    rt = context.runtime
    approver = Depends(demand(Scope.APPROVE))

    @app.get("/v1/profiles", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.Profile])
    @access(OPERATOR)
    async def list_profiles(
        page: PageOf, state: ProfileState | None = None, node: str | None = None, after: AfterName = ""
    ) -> list[View]:
        """Registered profiles, newest first."""

        def listed(conn: Connection) -> list[View]:
            node_id = None if node is None else find(conn, node).id
            return views.profile_list(conn, node_id, state, after, page.limit)

        return page.full(await context.read(listed), itemgetter("record_id"))

    @app.post("/v1/profiles/{record_id}/approve")
    @second_operator
    @answers(api.Done)
    @access(OPERATOR)
    async def approve_profile(record_id: str, response: Response, operator: Operator = approver) -> View:
        """Let an enrolled administrator answer for the node."""

        def order(conn: Connection) -> Order:
            target = enrolling.check_approvable(conn, record_id)
            return Order(Action.PROFILE_APPROVE, target, {"record_id": record_id})

        return await context.order(order, operator, response)

    @app.post("/v1/profiles/{record_id}/revoke")
    @answers(api.Done)
    @access(OPERATOR)
    async def revoke_profile(record_id: str, operator: Operator = approver) -> View:
        """Stop accepting this administrator at the node."""
        return await context.act(lambda conn: enrolling.revoke_profile(conn, rt, record_id, operator.name, rt.now()))

    @app.post("/v1/profiles/{record_id}/erase")
    @answers(api.Done)
    @access(OPERATOR)
    async def erase_profile(record_id: str, operator: Operator = approver) -> View:
        """Destroy what is kept of a profile, here and at its node."""
        return await context.act(lambda conn: enrolling.erase_profile(conn, rt, record_id, operator.name, rt.now()))

    @app.post("/v1/profiles/{record_id}/unlock")
    @answers(api.Done)
    @access(OPERATOR)
    async def unlock_profile(record_id: str, operator: Operator = approver) -> View:
        """Let an administrator who failed too often try again."""
        return await context.act(lambda conn: enrolling.unlock_profile(conn, rt, record_id, operator.name, rt.now()))
