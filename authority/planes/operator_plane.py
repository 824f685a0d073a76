"""Operator plane: the open API that people, the command line and other systems use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from operator import itemgetter
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row, select
from starlette.responses import Response

from authority import api, audit, braking, enrolling, operators, orders, repeating, scheduler, standing, views
from authority.alerts import Origin
from authority.alerts.destinations import Destination
from authority.console import console_routes
from authority.keys import networks
from authority.operators import Operator, Scope
from authority.orders import Action, Carried, Order
from authority.planes.access import OPERATOR, access, answers_secretly, check_access_declared, secret_answer
from authority.planes.alert_routes import alert_routes
from authority.planes.approval_routes import approval_routes
from authority.planes.conduct_routes import finding_routes, policy_route, signal_routes
from authority.planes.described import answers, description, second_operator
from authority.planes.gate import Demanded, Gate, Handler, OperatorLimits, check_scopes_demanded, install_gate
from authority.planes.hub import Hub, Push
from authority.planes.key_routes import version_routes
from authority.planes.log_and_group_routes import group_routes, log_routes
from authority.planes.mapping_routes import mapping_routes
from authority.planes.owner_routes import owner_route
from authority.planes.paging import AfterName, AfterNumber, PageOf
from authority.planes.problems import Refused, install_problem_handlers
from authority.planes.quiet import NO_TELEMETRY
from authority.planes.reference_routes import reference_routes
from authority.planes.rotation_routes import rotation_routes
from authority.planes.tls import CERTIFICATE_KEY
from authority.planes.token_routes import token_routes
from authority.runtime import Runtime
from authority.store import Store, schema
from authority.trust import Policy
from authority.trust.brake import BrakeDecision
from authority.views import NodeFilter
from protocol.codec import ProtocolViolation
from protocol.levels import NodeState, ResourceClass, Tier
from protocol.names import check_name
from protocol.problems import ErrorCode

View = dict[str, Any]
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


NOBODY = Origin("-")


@dataclass(frozen=True)
class OperatorContext:
    """What the routes of the operator plane work with."""

    store: Store
    runtime: Runtime
    hub: Hub
    ca_sha256: str
    load_policy: Callable[[], Policy] | None = None
    destinations: Callable[[], Sequence[Destination]] = list
    origin: Origin = NOBODY
    limits: OperatorLimits = field(default_factory=OperatorLimits)

    async def read(self, view: Callable[[Connection], Any]) -> Any:
        """Run `view` in a transaction."""
        return await self.store.arun(view)

    async def act(self, action: Callable[[Connection], list[Push]]) -> View:
        """Run `action` in a transaction and tell the nodes afterwards."""
        pushes = await self.store.arun(action)
        await self.hub.push(pushes)
        return {"ok": True}

    async def order(self, make: Callable[[Connection], Order], operator: Operator, response: Response) -> View:
        """Carry out what `make` gives, or let it wait for a second operator (202)."""
        rt, now = self.runtime, self.runtime.now()

        def act(conn: Connection) -> Carried:
            return orders.submit(conn, rt, make(conn), operator.name, now, self.load_policy)

        done = await self.store.arun(act)
        await self.hub.push(done.pushes)
        if done.approval is not None:
            response.status_code = 202
            response.headers["location"] = f"/v1/approvals/{done.approval}"
        return done.view

    async def find(self, request: Request) -> Operator | None:
        """The operator whose credential a request bears: a token, or else the certificate of its connection."""
        said, now = request.headers.get("authorization"), self.runtime.now()
        if said is None:
            thumbprint = request.scope.get("state", {}).get(CERTIFICATE_KEY, "")
            if not thumbprint:
                return None
            return await self.store.arun(lambda conn: operators.find_by_certificate(conn, thumbprint, now))
        kind, _, text = said.partition(" ")
        if kind.lower() != "bearer":
            return None
        return await self.store.arun(lambda conn: operators.find_operator(conn, text.strip(), now))

    async def again(self, request: Request, operator: Operator, body: bytes, handler: Handler) -> Response:
        """The answer to a request with an idempotency key: carried out, or as it was answered before."""
        key, target = request.headers["idempotency-key"], f"{request.url.path}?{request.url.query}"
        what = repeating.repeatable(operator.name, key, request.method, target, body)
        kept = await self.store.arun(lambda conn: repeating.claim(conn, what, self.runtime.now()))
        if kept is not None:
            return Response(kept.body, kept.status, {"idempotency-replayed": "true"}, "application/json")
        done = False
        try:
            response = await handler(request)
            done = 200 <= response.status_code < 300
        finally:
            if not done:
                await self.store.arun(lambda conn: repeating.forget(conn, what))
        answer = None if answers_secretly(request.scope.get("endpoint")) else bytes(response.body)
        await self.store.arun(lambda conn: repeating.keep(conn, what, response.status_code, answer))
        return response


def create_operator_app(context: OperatorContext) -> FastAPI:
    """The operator plane's application; refuses to be built with a route that declares no access."""
    app = FastAPI(title="Keyvigil operator API", version="1", docs_url=None, redoc_url=None, telemetry=NO_TELEMETRY)
    install_problem_handlers(app)
    install_gate(app, _gate(context))
    demand = Demanded
    _node_routes(app, context, demand)
    _order_routes(app, context, demand)
    _cut_off_routes(app, context, demand)
    _onboarding_routes(app, context, demand)
    _profile_routes(app, context, demand)
    _network_routes(app, context, demand)
    _member_routes(app, context, demand)
    rotation_routes(app, context, demand, _node, _network_name)
    version_routes(app, context, demand, _network_name)
    mapping_routes(app, context, demand, _node)
    reference_routes(app, context, demand)
    approval_routes(app, context, demand)
    _record_routes(app, context, demand)
    alert_routes(app, context, demand, context.destinations, context.origin)
    log_routes(app, context, demand)
    group_routes(app, context, demand, _node, _checked)
    _brake_routes(app, context, demand)
    _state_routes(app, context, demand)
    signal_routes(app, context, demand, _node)
    finding_routes(app, context, demand, _node)
    token_routes(app, context, demand)
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


class NodeQuery:
    """A dependency: which nodes are wanted."""

    def __init__(
        self,
        state: NodeState | None = None,
        tier: Tier | None = None,
        lab: bool | None = None,
        network: Annotated[str | None, Query(max_length=64)] = None,
        search: Annotated[str, Query(max_length=64)] = "",
    ) -> None:
        self._wanted = NodeFilter(state, tier, lab, network, search)

    def filter(self) -> NodeFilter:
        """What the query says."""
        return self._wanted


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


def _onboarding_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt = context.runtime
    approver = Depends(demand(Scope.APPROVE))

    @app.post("/v1/join-tokens", status_code=201)
    @secret_answer
    @answers(api.JoinToken)
    @access(OPERATOR)
    async def create_join_token(body: JoinTokenRequest, operator: Operator = approver) -> View:
        """A one-time token for a node; it is shown only here."""
        name = _checked("node", body.name)

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
        name = _checked("administrator", admin)

        def create(conn: Connection) -> tuple[str, str]:
            node_id = _node(conn, body.node).id
            made = enrolling.create_ticket(conn, rt, name, node_id, body.lifetime_s, rt.now())
            audit.append(conn, "ticket", operator.name, node_id, {"admin": name}, rt.now())
            return made

        ticket, pin = await context.read(create)
        return {"admin": name, "node": body.node, "ticket": ticket, "pin": pin}


def _profile_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
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
            node_id = None if node is None else _node(conn, node).id
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
        found: View = await context.read(lambda conn: braking.vote(conn, decision, operator.name, body.reason, now))
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

    @app.get("/v1/health", dependencies=read)
    @answers(api.Connected)
    @access(OPERATOR)
    async def health() -> View:
        """Whether the store answers, and how many nodes are connected."""
        await context.read(lambda conn: conn.execute(select(schema.meta.c.key).limit(1)).first())
        return {"ok": True, "connected": len(context.hub.connected())}
