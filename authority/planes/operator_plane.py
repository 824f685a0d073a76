"""Operator plane: the open API that people, the command line and other systems use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row, select

from authority import audit, braking, enrolling, operators, scheduler, standing, views
from authority.alerts import Origin
from authority.alerts.destinations import Destination
from authority.keys import networks
from authority.operators import Operator, Scope
from authority.planes.access import OPERATOR, access, check_access_declared
from authority.planes.alert_routes import alert_routes
from authority.planes.break_glass_route import break_glass_route
from authority.planes.conduct_routes import finding_routes, policy_route, signal_routes, token_route
from authority.planes.hub import Hub, Push
from authority.planes.key_routes import version_routes
from authority.planes.log_and_group_routes import group_routes, log_routes
from authority.planes.mapping_routes import mapping_routes
from authority.planes.owner_routes import owner_route
from authority.planes.problems import Refused, install_problem_handlers
from authority.planes.quiet import NO_TELEMETRY
from authority.planes.reference_routes import reference_routes
from authority.planes.rotation_routes import rotation_routes
from authority.planes.watch_routes import watch_routes
from authority.runtime import Runtime
from authority.store import Store, schema
from authority.trust import Policy
from authority.trust.brake import BrakeDecision
from authority.watching import Watch
from protocol.codec import ProtocolViolation
from protocol.levels import ResourceClass
from protocol.names import check_name
from protocol.problems import ErrorCode

View = dict[str, Any]
LARGEST = 2**63 - 1


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
    watch: Watch | None = None

    async def read(self, view: Callable[[Connection], Any]) -> Any:
        """Run `view` in a transaction."""
        return await self.store.arun(view)

    async def act(self, action: Callable[[Connection], list[Push]]) -> View:
        """Run `action` in a transaction and tell the nodes afterwards."""
        pushes = await self.store.arun(action)
        await self.hub.push(pushes)
        return {"ok": True}


def create_operator_app(context: OperatorContext) -> FastAPI:
    """The operator plane's application; refuses to be built with a route that declares no access."""
    app = FastAPI(title="Keyvigil operator API", version="1", docs_url=None, redoc_url=None, telemetry=NO_TELEMETRY)
    install_problem_handlers(app)
    demand = _demand(context)
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
    token_route(app, context, demand)
    owner_route(app, context, demand, _node)
    policy_route(app, context, demand)
    check_access_declared(app)
    return app


Demand = Callable[[Scope], Callable[[Request], Awaitable[Operator]]]


def _demand(context: OperatorContext) -> Demand:
    def demand(scope: Scope) -> Callable[[Request], Awaitable[Operator]]:
        async def operator_of(request: Request) -> Operator:
            kind, _, text = request.headers.get("authorization", "").partition(" ")
            now = context.runtime.now()
            found = None
            if kind.lower() == "bearer":
                found = await context.store.arun(lambda conn: operators.find_operator(conn, text.strip(), now))
            if found is None:
                raise Refused(ErrorCode.UNAUTHENTICATED, 401, "no valid operator token", "Name a valid token file.")
            if not found.may(scope):
                raise Refused(ErrorCode.FORBIDDEN, 403, f"this token lacks the scope {scope}", "Use another token.")
            return found

        return operator_of

    return demand


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
    @access(OPERATOR)
    async def list_nodes() -> list[View]:
        """Every node with its standing."""
        found: list[View] = await context.read(lambda conn: views.node_list(conn, rt))
        return found

    @app.get("/v1/nodes/{name}", dependencies=[Depends(demand(Scope.READ))])
    @access(OPERATOR)
    async def show_node(name: str) -> View:
        """One node with profiles, devices and its last presentations."""
        found: View = await context.read(lambda conn: views.node_detail(conn, rt, _node(conn, name)))
        return found


def _order_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt = context.runtime
    operate = Depends(demand(Scope.OPERATE))

    @app.post("/v1/nodes/{name}/challenge")
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
    @access(OPERATOR)
    async def isolate_node(name: str, body: ReasonRequest, operator: Operator = operate) -> View:
        """Cut the node off from every peer."""
        return await context.act(
            lambda conn: standing.isolate(conn, rt, _node(conn, name).id, operator.name, body.reason, rt.now())
        )

    @app.post("/v1/nodes/{name}/release")
    @access(OPERATOR)
    async def release_node(name: str, body: ReasonRequest, operator: Operator = operate) -> View:
        """Let an isolated or banned node back in, at the tier its score is worth."""
        return await context.act(
            lambda conn: standing.release(conn, rt, _node(conn, name).id, operator.name, body.reason, rt.now())
        )

    @app.post("/v1/nodes/{name}/ban")
    @access(OPERATOR)
    async def ban_node(name: str, body: ReasonRequest, operator: Operator = operate) -> View:
        """Cut the node off until an operator releases it."""
        return await context.act(
            lambda conn: standing.ban(conn, rt, _node(conn, name).id, operator.name, body.reason, rt.now())
        )

    @app.post("/v1/nodes/{name}/retire")
    @access(OPERATOR)
    async def retire_node(name: str, body: ReasonRequest, operator: Operator = operate) -> View:
        """Take the node out of service for good."""
        return await context.act(
            lambda conn: standing.retire(conn, rt, _node(conn, name).id, operator.name, body.reason, rt.now())
        )


def _onboarding_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt = context.runtime
    approver = Depends(demand(Scope.APPROVE))

    @app.post("/v1/join-tokens", status_code=201)
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
    @access(OPERATOR)
    async def list_profiles(state: str | None = None) -> list[View]:
        """Registered profiles, newest first."""
        found: list[View] = await context.read(lambda conn: views.profile_list(conn, state=state))
        return found

    @app.post("/v1/profiles/{record_id}/approve")
    @access(OPERATOR)
    async def approve_profile(record_id: str, operator: Operator = approver) -> View:
        """Let an enrolled administrator answer for the node."""
        return await context.act(lambda conn: enrolling.approve(conn, rt, record_id, operator.name, rt.now()))

    @app.post("/v1/profiles/{record_id}/revoke")
    @access(OPERATOR)
    async def revoke_profile(record_id: str, operator: Operator = approver) -> View:
        """Stop accepting this administrator at the node."""
        return await context.act(lambda conn: enrolling.revoke_profile(conn, rt, record_id, operator.name, rt.now()))

    @app.post("/v1/profiles/{record_id}/erase")
    @access(OPERATOR)
    async def erase_profile(record_id: str, operator: Operator = approver) -> View:
        """Destroy what is kept of a profile, here and at its node."""
        return await context.act(lambda conn: enrolling.erase_profile(conn, rt, record_id, operator.name, rt.now()))

    @app.post("/v1/profiles/{record_id}/unlock")
    @access(OPERATOR)
    async def unlock_profile(record_id: str, operator: Operator = approver) -> View:
        """Let an administrator who failed too often try again."""
        return await context.act(lambda conn: enrolling.unlock_profile(conn, rt, record_id, operator.name, rt.now()))


def _network_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    rt = context.runtime
    operate = Depends(demand(Scope.OPERATE))

    @app.get("/v1/networks", dependencies=[Depends(demand(Scope.READ))])
    @access(OPERATOR)
    async def list_networks() -> list[View]:
        """Networks with members and key versions."""
        found: list[View] = await context.read(views.network_list)
        return found

    @app.post("/v1/networks", status_code=201)
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
    @access(OPERATOR)
    async def rotate_network(network: str, operator: Operator = operate) -> View:
        """A new latest version; the others move down by one."""
        return await context.act(
            lambda conn: networks.rotate_versions(conn, rt, _network_name(conn, network), operator.name, rt.now())
        )


def _record_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    read = [Depends(demand(Scope.READ))]

    @app.get("/v1/audit", dependencies=read)
    @access(OPERATOR)
    async def list_audit(after: Annotated[int, Query(ge=0)] = 0) -> list[View]:
        """Audit records above a sequence number, oldest first."""
        found: list[View] = await context.read(lambda conn: views.audit_list(conn, after))
        return found


def _brake_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    approver, rt = Depends(demand(Scope.APPROVE)), context.runtime

    @app.get("/v1/brake", dependencies=[Depends(demand(Scope.READ))])
    @access(OPERATOR)
    async def show_brake() -> View:
        """Whether the brake holds, who voted, and which nodes fell last."""
        found: View = await context.read(braking.status)
        return found

    @app.post("/v1/brake/{decision}")
    @access(OPERATOR)
    async def vote_on_brake(decision: BrakeDecision, body: ReasonRequest, operator: Operator = approver) -> View:
        """Vote for holding or releasing; it takes effect when a second operator votes alike."""
        now = rt.now()
        found: View = await context.read(lambda conn: braking.vote(conn, decision, operator.name, body.reason, now))
        return found


def _state_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    read = [Depends(demand(Scope.READ))]

    @app.get("/v1/policy", dependencies=read)
    @access(OPERATOR)
    async def show_policy() -> View:
        """The policy in force."""
        policy = context.runtime.policy
        return {**policy.as_dict(), "sha256": policy.sha256}
