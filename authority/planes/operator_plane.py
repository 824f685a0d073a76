"""Operator plane: the open API that people, the command line and other systems use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache, partial
from operator import itemgetter
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row, select
from starlette.responses import Response

from authority import api, audit, braking, scheduler, standing, views
from authority.console import console_routes
from authority.keys import networks
from authority.operators import Operator
from authority.orders import Action, Order
from authority.planes.access import OPERATOR, access, check_access_declared
from authority.planes.alert_routes import alert_routes
from authority.planes.approval_routes import approval_routes
from authority.planes.break_glass_route import break_glass_route
from authority.planes.conduct_routes import finding_routes, policy_route, signal_routes
from authority.planes.described import answers, description, second_operator
from authority.planes.driver_routes import driver_routes
from authority.planes.fleet_routes import fleet_routes
from authority.planes.gate import Demanded, Gate, check_scopes_demanded, install_gate
from authority.planes.hub import Push
from authority.planes.key_routes import version_routes
from authority.planes.log_and_group_routes import group_routes, log_routes
from authority.planes.mapping_routes import mapping_routes
from authority.planes.node_query import NodeQuery
from authority.planes.operator_context import OperatorContext
from authority.planes.owner_routes import owner_route
from authority.planes.paging import AfterName, AfterNumber, PageOf
from authority.planes.people_routes import onboarding_routes, profile_routes
from authority.planes.person_routes import person_routes
from authority.planes.problems import Refused, install_problem_handlers
from authority.planes.quiet import NO_TELEMETRY
from authority.planes.reference_routes import reference_routes
from authority.planes.result_routes import result_routes
from authority.planes.rotation_routes import rotation_routes
from authority.planes.token_routes import token_routes
from authority.planes.watch_routes import watch_routes
from authority.roles import Scope
from authority.store import schema
from authority.trust.brake import BrakeDecision
from protocol.codec import ProtocolViolation
from protocol.levels import ResourceClass
from protocol.names import check_name
from protocol.problems import ErrorCode

__all__ = ["Demand", "OperatorContext", "create_operator_app"]

View = dict[str, Any]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReasonRequest(_Body):
    """Why an operator acts; it goes into the audit log."""

    reason: str = Field("", max_length=500)


class NetworkRequest(_Body):
    """A virtual network to create."""

    name: str


class MemberRequest(_Body):
    """A node's place in a virtual network."""

    node: str
    address: str = Field(max_length=64)
    resource_class: ResourceClass = ResourceClass.NORMAL


def create_operator_app(context: OperatorContext) -> FastAPI:
    """The operator plane's application; refuses to be built with a route that declares no access."""
    app = FastAPI(title="Keyvigil operator API", version="1", docs_url=None, redoc_url=None, telemetry=NO_TELEMETRY)
    install_problem_handlers(app)
    install_gate(app, _gate(context))
    demand = Demanded
    _node_routes(app, context, demand)
    _order_routes(app, context, demand)
    _cut_off_routes(app, context, demand)
    onboarding_routes(app, context, demand, _node, _checked)
    profile_routes(app, context, demand, _node)
    fleet_routes(app, context, demand, _checked)
    _network_routes(app, context, demand)
    _member_routes(app, context, demand)
    rotation_routes(app, context, demand, _node, _network_name)
    version_routes(app, context, demand, _network_name)
    mapping_routes(app, context, demand, _node)
    reference_routes(app, context, demand)
    driver_routes(app, context, demand)
    result_routes(app, context)
    approval_routes(app, context, demand)
    _record_routes(app, context, demand)
    alert_routes(app, context, demand, context.destinations, context.origin)
    log_routes(app, context, demand)
    group_routes(app, context, demand, _node, _checked)
    _brake_routes(app, context, demand)
    _state_routes(app, context, demand)
    watch_routes(app, context, demand)
    break_glass_route(app, context)
    signal_routes(app, context, demand, _node)
    finding_routes(app, context, demand, _node)
    token_routes(app, context, demand)
    person_routes(app, context)
    owner_route(app, context, demand, _node)
    policy_route(app, context, demand)
    console_routes(app, context)
    app.openapi = cache(partial(description, app))  # type: ignore[method-assign]
    check_access_declared(app)
    check_scopes_demanded(app)
    return app


Demand = Callable[[Scope], Callable[[Request], Awaitable[Operator]]]


def _gate(context: OperatorContext) -> Gate:
    return Gate(context.find, context.again, context.limits, context.runtime.now)


def _node(conn: Connection, name: str) -> Row[Any]:
    row = views.find_node(conn, name)
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"no node named {name!r}", "List nodes with `node list`.")
    return row


def _network_name(conn: Connection, name: str) -> str:
    if conn.execute(select(schema.network).where(schema.network.c.name == name)).first() is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"no network named {name!r}", "List networks with `network list`.")
    return name


def _checked(kind: str, name: str) -> str:
    try:
        return check_name(kind, name)
    except ProtocolViolation as error:
        raise Refused(ErrorCode.MALFORMED, 422, str(error), "Choose another name.") from None


def _node_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt = context.runtime

    @app.get("/v1/nodes", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.Node])
    @access(OPERATOR)
    async def list_nodes(page: PageOf, wanted: Annotated[NodeQuery, Depends()], after: AfterName = "") -> list[View]:
        """Nodes with their standing, by name."""
        nodes = wanted.filter()
        found: list[View] = await context.read(lambda conn: views.node_list(conn, rt, nodes, after, page.limit))
        return page.full(found, itemgetter("name"))

    @app.get("/v1/nodes/{name}", dependencies=[Depends(demand(Scope.READ))])
    @answers(api.NodeDetail)
    @access(OPERATOR)
    async def show_node(name: str) -> View:
        """One node with profiles, devices and its last presentations."""
        found: View = await context.read(lambda conn: views.node_detail(conn, rt, _node(conn, name)))
        return found


def _order_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt = context.runtime
    operate = Depends(demand(Scope.OPERATE))

    @app.post("/v1/nodes/{name}/challenge")
    @answers(api.Done)
    @access(OPERATOR)
    async def challenge_node(name: str, operator: Operator = operate) -> View:
        """Summon somebody to the node now."""
        del operator
        return await context.act(
            lambda conn: scheduler.challenge_now(conn, rt, _node(conn, name).id, "on-demand", rt.now())
        )


def _cut_off_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt = context.runtime
    operate = Depends(demand(Scope.OPERATE))

    @app.post("/v1/nodes/{name}/isolate")
    @answers(api.Done)
    @access(OPERATOR)
    async def isolate_node(name: str, body: ReasonRequest, operator: Operator = operate) -> View:
        """Cut the node off from every peer."""
        return await context.act(
            lambda conn: standing.isolate(conn, rt, _node(conn, name).id, operator.name, body.reason, rt.now())
        )

    @app.post("/v1/nodes/{name}/release")
    @second_operator
    @answers(api.Done)
    @access(OPERATOR)
    async def release_node(name: str, body: ReasonRequest, response: Response, operator: Operator = operate) -> View:
        """Let an isolated or banned node back in, at the tier its score is worth."""
        return await context.order(_node_order(Action.NODE_RELEASE, name, body.reason), operator, response)

    @app.post("/v1/nodes/{name}/ban")
    @second_operator
    @answers(api.Done)
    @access(OPERATOR)
    async def ban_node(name: str, body: ReasonRequest, response: Response, operator: Operator = operate) -> View:
        """Cut the node off until an operator releases it."""
        return await context.order(_node_order(Action.NODE_BAN, name, body.reason), operator, response)

    @app.post("/v1/nodes/{name}/retire")
    @answers(api.Done)
    @access(OPERATOR)
    async def retire_node(name: str, body: ReasonRequest, operator: Operator = operate) -> View:
        """Take the node out of service for good."""
        return await context.act(
            lambda conn: standing.retire(conn, rt, _node(conn, name).id, operator.name, body.reason, rt.now())
        )


def _node_order(action: Action, name: str, reason: str) -> Callable[[Connection], Order]:
    return lambda conn: Order(action, name, {"node_id": _node(conn, name).id}, reason)


def _network_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt = context.runtime
    operate = Depends(demand(Scope.OPERATE))

    @app.get("/v1/networks", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.Network])
    @access(OPERATOR)
    async def list_networks(page: PageOf, after: AfterName = "") -> list[View]:
        """Networks with members and key versions, by name."""
        return page.cut(await context.read(views.network_list), after, itemgetter("name"))

    @app.post("/v1/networks", status_code=201)
    @answers(api.Done)
    @access(OPERATOR)
    async def create_network(body: NetworkRequest, operator: Operator = operate) -> View:
        """A network with a key version for every tier."""
        name = _checked("network", body.name)

        def create(conn: Connection) -> list[Push]:
            networks.create_network(conn, rt, name, rt.now())
            audit.append(conn, "network", operator.name, None, {"network": name}, rt.now())
            return []

        return await context.act(create)


def _member_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt = context.runtime
    operate = Depends(demand(Scope.OPERATE))

    @app.post("/v1/networks/{network}/members", status_code=201)
    @answers(api.Done)
    @access(OPERATOR)
    async def add_member(network: str, body: MemberRequest, operator: Operator = operate) -> View:
        """Give a node an address in the network."""

        def add(conn: Connection) -> list[Push]:
            node_id = _node(conn, body.node).id
            name = _network_name(conn, network)
            pushes = networks.add_member(conn, rt, name, node_id, body.address, body.resource_class, rt.now())
            detail = {"network": network, "address": body.address, "class": body.resource_class}
            audit.append(conn, "member", operator.name, node_id, detail, rt.now())
            return pushes

        return await context.act(add)

    @app.post("/v1/networks/{network}/rotate")
    @answers(api.Done)
    @access(OPERATOR)
    async def rotate_network(network: str, operator: Operator = operate) -> View:
        """A new latest version; the others move down by one."""
        return await context.act(
            lambda conn: networks.rotate_versions(conn, rt, _network_name(conn, network), operator.name, rt.now())
        )


def _record_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    read = [Depends(demand(Scope.AUDIT))]

    @app.get("/v1/audit", dependencies=read)
    @answers(list[api.AuditRecord])
    @access(OPERATOR)
    async def list_audit(
        page: PageOf,
        after: AfterNumber = 0,
        kind: Annotated[str | None, Query(max_length=32)] = None,
        actor: Annotated[str | None, Query(max_length=80)] = None,
    ) -> list[View]:
        """Audit records above a sequence number, oldest first."""
        found: list[View] = await context.read(
            lambda conn: views.audit_list(conn, after, page.limit, kind=kind, actor=actor)
        )
        return page.full(found, itemgetter("seq"))


def _brake_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    approver, rt = Depends(demand(Scope.APPROVE)), context.runtime

    @app.get("/v1/brake", dependencies=[Depends(demand(Scope.READ))])
    @answers(api.Brake)
    @access(OPERATOR)
    async def show_brake() -> View:
        """Whether the brake holds, who voted, and which nodes fell last."""
        found: View = await context.read(braking.status)
        return found

    @app.post("/v1/brake/{decision}")
    @answers(api.Brake)
    @access(OPERATOR)
    async def vote_on_brake(decision: BrakeDecision, body: ReasonRequest, operator: Operator = approver) -> View:
        """Vote for holding or releasing; it takes effect when a second operator votes alike."""
        now = rt.now()
        found: View = await context.read(lambda conn: braking.vote(conn, rt, decision, operator.name, body.reason, now))
        return found


def _state_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    read = [Depends(demand(Scope.READ))]

    @app.get("/v1/policy", dependencies=read)
    @answers(api.PolicyInForce)
    @access(OPERATOR)
    async def show_policy() -> View:
        """The policy in force."""
        policy = context.runtime.policy
        return {**policy.as_dict(), "sha256": policy.sha256}
