"""Operator plane: what is done to many at once: rosters, tokens and tickets in bulk, a person revoked everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.responses import Response

from authority import api, bulk, fleet_orders, revoking, rosters, stale
from authority.bulk import MOST_TICKETS, MOST_TOKENS, TicketRow, TokenRow
from authority.enrolling import draw_ticket
from authority.operators import Operator
from authority.orders import Action, Order
from authority.planes.access import OPERATOR, access, secret_answer
from authority.planes.described import answers, second_operator
from authority.planes.node_query import NodeQuery
from authority.planes.paging import AfterName, AfterNumber, PageOf
from authority.roles import Scope
from authority.rosters import PersonFilter, PersonState
from authority.runtime import Push
from authority.trust.staleness import StaleRules

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext
    from authority.planes.operator_plane import Demand

View = dict[str, Any]
CheckName = Callable[[str, str], str]
Line = Annotated[int | None, Field(ge=1, le=10_000_000)]
"""Where whoever asks has the row, for a refusal to name; its place in the list where it is left out."""
Text = Annotated[str, Field(max_length=255)]
Lifetime = Annotated[float, Field(ge=60, le=7 * 86400)]
Silence = Annotated[float | None, Query(ge=0, le=1e10, description="Seconds, instead of what the policy says.")]
Moment = Annotated[float | None, Query(ge=0, le=1e12, description="POSIX seconds.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TokenWanted(_Body):
    """A node that is to join."""

    name: Text
    lab: bool = False
    line: Line = None


class JoinTokensRequest(_Body):
    """Tokens for many nodes: all are made, or none."""

    nodes: list[TokenWanted] = Field(min_length=1, max_length=MOST_TOKENS)
    lifetime_s: Lifetime = 3600

    def rows(self) -> list[TokenRow]:
        """What is wanted, with the lines."""
        return [TokenRow(each.line or at, each.name, each.lab) for at, each in enumerate(self.nodes, 1)]


class TicketWanted(_Body):
    """An administrator who is to enrol at a node."""

    admin: Text
    node: Text
    line: Line = None


class TicketsRequest(_Body):
    """Tickets for many administrators and nodes: all are made, or none."""

    tickets: list[TicketWanted] = Field(min_length=1, max_length=MOST_TICKETS)
    lifetime_s: Lifetime = 3600

    def rows(self) -> list[TicketRow]:
        """What is wanted, with the lines."""
        return [TicketRow(each.line or at, each.admin, each.node) for at, each in enumerate(self.tickets, 1)]


class RevocationRequest(_Body):
    """Why an operator does it; it goes into the audit log."""

    reason: str = Field("", max_length=500)


def fleet_routes(app: FastAPI, context: OperatorContext, demand: Demand, checked: CheckName) -> None:
    """Add the routes; `checked` refuses what is no name."""
    _bulk_routes(app, context, demand)
    _person_routes(app, context, demand, checked)
    _roster_routes(app, context, demand)
    _stale_route(app, context, demand)
    _order_route(app, context, demand)


def _bulk_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt, approver = context.runtime, Depends(demand(Scope.APPROVE))

    @app.post("/v1/join-tokens/bulk", status_code=201)
    @secret_answer
    @answers(list[api.JoinToken])
    @access(OPERATOR)
    async def create_join_tokens(body: JoinTokensRequest, operator: Operator = approver) -> list[View]:
        """One-time tokens for many nodes, shown only here; a row at fault is named, and then none is made."""
        rows, now = body.rows(), rt.now()

        def create(conn: Connection) -> list[View]:
            return bulk.create_join_tokens(conn, rt, rows, body.lifetime_s, context.ca_sha256, operator.name, now)

        made: list[View] = await context.read(create)
        return made

    @app.post("/v1/tickets/bulk", status_code=201)
    @secret_answer
    @answers(list[api.Ticket])
    @access(OPERATOR)
    async def create_tickets(body: TicketsRequest, operator: Operator = approver) -> list[View]:
        """One-time tickets and PINs for many administrators; a row at fault is named, and then none is made."""
        rows = body.rows()
        await context.read(lambda conn: bulk.check_tickets(conn, rows))
        drawn = await asyncio.to_thread(lambda: [draw_ticket(rt) for _ in rows])
        made: list[View] = await context.read(
            lambda conn: bulk.create_tickets(conn, rt, rows, drawn, body.lifetime_s, operator.name, rt.now())
        )
        return made


def _person_routes(app: FastAPI, context: OperatorContext, demand: Demand, checked: CheckName) -> None:
    rt, approver = context.runtime, Depends(demand(Scope.APPROVE))

    @app.post("/v1/admins/{admin}/revoke")
    @second_operator
    @answers(api.Revocation)
    @access(OPERATOR)
    async def revoke_administrator(
        admin: str, body: RevocationRequest, response: Response, operator: Operator = approver
    ) -> View:
        """Stop accepting this administrator at every node, at once; again, it tells how far the nodes have come."""
        name = checked("administrator", admin)

        def order(conn: Connection) -> Order:
            return Order(Action.ADMIN_REVOKE, revoking.check_known(conn, name), {"admin": name}, body.reason)

        return await context.order(order, operator, response)

    @app.post("/v1/admins/{admin}/readmit")
    @answers(api.Done)
    @access(OPERATOR)
    async def readmit_administrator(admin: str, body: RevocationRequest, operator: Operator = approver) -> View:
        """Let a revoked administrator have tickets again, to enrol anew."""
        name = checked("administrator", admin)

        def readmit(conn: Connection) -> list[Push]:
            revoking.readmit(conn, name, operator.name, body.reason, rt.now())
            return []

        return await context.act(readmit)


def _roster_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    read = [Depends(demand(Scope.READ))]

    @app.get("/v1/roster/nodes", dependencies=read)
    @answers(list[api.RosterNode])
    @access(OPERATOR)
    async def node_roster(
        page: PageOf, wanted: Annotated[NodeQuery, Depends()], unseen_since: Moment = None, after: AfterName = ""
    ) -> list[View]:
        """Nodes for an auditor, by name; with `unseen_since` those only that were not seen from then on."""
        nodes = wanted.filter()
        found = await context.read(lambda conn: rosters.node_roster(conn, nodes, unseen_since, after, page.limit))
        return page.full(found, itemgetter("name"))

    @app.get("/v1/roster/administrators", dependencies=read)
    @answers(list[api.RosterAdministrator])
    @access(OPERATOR)
    async def administrator_roster(
        page: PageOf,
        state: PersonState | None = None,
        node: Annotated[str | None, Query(max_length=64)] = None,
        search: Annotated[str, Query(max_length=64)] = "",
        after: AfterName = "",
    ) -> list[View]:
        """Administrators and where they are known, by name; `node` is one that they may enrol or answer at."""
        wanted = PersonFilter(state, node, search)
        found = await context.read(lambda conn: rosters.person_roster(conn, wanted, after, page.limit))
        return page.full(found, itemgetter("name"))


def _stale_route(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt = context.runtime

    @app.get("/v1/stale", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.StaleNode])
    @access(OPERATOR)
    async def list_stale(
        page: PageOf, alert_s: Silence = None, retire_s: Silence = None, after: AfterName = ""
    ) -> list[View]:
        """Nodes that nobody sees any more, by name, and what the next sweep does to each. Nothing is changed."""
        rules = _rules(rt.policy.stale, alert_s, retire_s)
        found = await context.read(lambda conn: stale.views(conn, rules, rt.now()))
        return page.cut(found, after, itemgetter("node"))


def _order_route(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    @app.get("/v1/fleet-orders", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.FleetOrder])
    @access(OPERATOR)
    async def list_fleet_orders(page: PageOf, after: AfterNumber = 0) -> list[View]:
        """Orders over the whole fleet, oldest first, and how far their passes have come."""
        found = await context.read(lambda conn: fleet_orders.listing(conn, after, page.limit))
        return page.full(found, itemgetter("id"))


def _rules(rules: StaleRules, alert_s: float | None, retire_s: float | None) -> StaleRules:
    """The policy's rules with other limits; a node cannot be retired before it is told of."""
    retire = rules.retire_s if retire_s is None else retire_s
    alert = rules.alert_s if alert_s is None else alert_s
    return msgspec.structs.replace(rules, alert_s=min(alert or retire, retire or alert), retire_s=retire)
