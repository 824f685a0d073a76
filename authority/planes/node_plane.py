"""Node plane: what nodes send and what they are sent. Routes are thin: decode, one transaction, push, encode."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from cryptography import x509
from fastapi import Depends, FastAPI, Path, Query, Request, WebSocket
from sqlalchemy import Connection as Transaction
from sqlalchemy import update
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocketDisconnect, WebSocketState

from authority import (
    ca_renewal,
    challenges,
    checkpoints,
    enrolling,
    groups,
    joining,
    owning,
    profiles,
    scheduler,
    signals,
)
from authority.metrics import Meter
from authority.pki import CertificateAuthority
from authority.planes.access import ANONYMOUS, NODE, access, check_access_declared, declared_access
from authority.planes.hub import CloseCode, Connection, Hub
from authority.planes.limits import BODY_BYTES, RateLimit, read_body
from authority.planes.mapping_routes import NodeLimits, node_mapping_routes
from authority.planes.problems import install_problem_handlers
from authority.planes.quiet import NO_TELEMETRY
from authority.planes.tls import CERTIFICATE_KEY
from authority.refusal import Refused
from authority.runtime import Push, Runtime
from authority.store import Store, schema
from protocol.codec import ProtocolViolation, decode, encode
from protocol.messages import (
    LONGEST_EVENT_LOG,
    AttestSubmission,
    BeginRequest,
    DeliveryAck,
    EnrolFinish,
    EnrolStart,
    ErasedRecord,
    EvidenceSubmission,
    FailureSubmission,
    GroupSubmission,
    IndexRequest,
    JoinProof,
    JoinRequest,
    NonceRequest,
    OwnershipReport,
    RemovalRequest,
    RenewRequest,
    ResetRequest,
)
from protocol.problems import ErrorCode
from protocol.signals import SignalReport

T = TypeVar("T")
JSON = "application/json"
LARGEST_NUMBER = 2**63 - 1
LOG_BYTES = BODY_BYTES + 4 * LONGEST_EVENT_LOG // 3
"""A machine attestation may carry an event log, in base64."""
SEEN_S = 60.0
"""How exactly it is kept when a node was last seen."""
CLOSE_S = 2.0
"""A close frame waits this long behind what a node has not read."""


@dataclass(frozen=True)
class NodeContext:
    """What the routes of the node plane work with; `lab_roots` are good for lab nodes only."""

    store: Store
    runtime: Runtime
    ca: CertificateAuthority
    roots: Sequence[x509.Certificate]
    lab_roots: Sequence[x509.Certificate]
    hub: Hub
    limit: RateLimit = field(default_factory=RateLimit)
    meter: Meter = field(default_factory=Meter)
    signal_limit: RateLimit = field(default_factory=lambda: RateLimit(burst=60, rate=0.2))

    async def tell(self, decided: tuple[T, list[Push]]) -> T:
        """Push what follows from a decision that was committed; gives the answer."""
        answer, pushes = decided
        await self.hub.push(pushes)
        return answer

    async def guard(self, connection: HTTPConnection) -> None:
        """Hold a request to what its endpoint declares; runs before every endpoint."""
        level = declared_access(connection.scope.get("endpoint"))
        if level is NODE:
            connection.state.node_id = await self._node_of(connection)
        elif level is ANONYMOUS:
            self.limit.check(connection.client.host if connection.client else "", self.runtime.now())
        else:
            raise Refused(ErrorCode.FORBIDDEN, 403, "this endpoint is not for nodes")

    async def _node_of(self, connection: HTTPConnection) -> str:
        thumbprint = connection.scope["state"].get(CERTIFICATE_KEY, "")
        now = self.runtime.now()
        node_id = None
        if thumbprint:
            node_id = await self.store.arun(lambda conn: _registered(conn, thumbprint, now))
        if node_id is None:
            raise Refused(
                ErrorCode.UNAUTHENTICATED,
                401,
                "no client certificate of a registered node",
                "Renew the certificate, or join again.",
            )
        return node_id


def create_node_app(
    store: Store,
    runtime: Runtime,
    ca: CertificateAuthority,
    roots: Sequence[x509.Certificate],
    lab_roots: Sequence[x509.Certificate],
    hub: Hub,
    meter: Meter | None = None,
) -> FastAPI:
    """The node plane's application; refuses to be built with a route that declares no access."""
    context = NodeContext(store, runtime, ca, roots, lab_roots, hub, meter=meter or Meter())
    app = FastAPI(
        telemetry=NO_TELEMETRY,
        title="Keyvigil node plane",
        version="1",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(context.guard)],
    )
    install_problem_handlers(app)
    _joining_routes(app, context)
    _enrolment_routes(app, context)
    _owning_routes(app, context)
    _challenge_routes(app, context)
    _delivery_routes(app, context)
    _signal_route(app, context)
    node_mapping_routes(app, context, NodeLimits())
    _log_route(app, context)
    _event_route(app, context)
    check_access_declared(app)
    return app


def _joining_routes(app: FastAPI, context: NodeContext) -> None:
    rt, run = context.runtime, context.store.arun

    @app.get("/v1/ca")
    @access(ANONYMOUS)
    async def ca_certificate() -> Response:
        return PlainTextResponse(context.ca.certificate_pem, media_type="application/x-pem-file")

    @app.get("/v1/ca/next")
    @access(ANONYMOUS)
    async def next_ca() -> Response:
        return _json(ca_renewal.shown(context.ca.folder))

    @app.post("/v1/join")
    @access(ANONYMOUS)
    async def join(request: Request) -> Response:
        body, now = await _decoded(request, JoinRequest), rt.now()
        roots, lab = context.roots, context.lab_roots
        return _json(await run(lambda conn: joining.start_join(conn, rt, body, roots, lab, now)))

    @app.post("/v1/join/{join_id}/activate")
    @access(ANONYMOUS)
    async def activate(join_id: str, request: Request) -> Response:
        body, now = await _decoded(request, JoinProof), rt.now()
        decided = await run(lambda conn: joining.finish_join(conn, rt, context.ca, join_id, body, now))
        return _json(await context.tell(decided))

    @app.post("/v1/nonces")
    @access(ANONYMOUS)
    async def nonce(request: Request) -> Response:
        body, now = await _decoded(request, NonceRequest), rt.now()
        return _json(await run(lambda conn: joining.issue_nonce(conn, rt, body, now)))

    @app.post("/v1/renew")
    @access(ANONYMOUS)
    async def renew(request: Request) -> Response:
        body, now = await _decoded(request, RenewRequest), rt.now()
        return _json(await run(lambda conn: joining.renew(conn, rt, context.ca, body, now)))


def _enrolment_routes(app: FastAPI, context: NodeContext) -> None:
    rt, run = context.runtime, context.store.arun

    @app.post("/v1/enrolments")
    @access(NODE)
    async def start(request: Request) -> Response:
        body, node_id, now = await _decoded(request, EnrolStart), request.state.node_id, rt.now()
        return _json(await run(lambda conn: enrolling.start_enrolment(conn, rt, node_id, body, now)))

    @app.put("/v1/enrolments/{enrolment_id}")
    @access(NODE)
    async def finish(enrolment_id: str, request: Request) -> Response:
        body, node_id, now = await _decoded(request, EnrolFinish), request.state.node_id, rt.now()
        return _json(await run(lambda conn: enrolling.finish_enrolment(conn, rt, node_id, enrolment_id, body, now)))

    @app.post("/v1/profiles/{record_id}/reset")
    @access(NODE)
    async def reset(record_id: str, request: Request) -> Response:
        body, node_id, now = await _decoded(request, ResetRequest), request.state.node_id, rt.now()
        return _json(await run(lambda conn: enrolling.grant_reset(conn, rt, node_id, record_id, body, now)))

    @app.post("/v1/profiles/{record_id}/erased")
    @access(NODE)
    async def erased(record_id: str, request: Request) -> Response:
        body, node_id, now = await _decoded(request, ErasedRecord), request.state.node_id, rt.now()
        if body.record_id != record_id:
            raise ProtocolViolation("the record is another than the one in the path")
        await run(lambda conn: profiles.note_gone(conn, node_id, record_id, now))
        return _json({})


def _owning_routes(app: FastAPI, context: NodeContext) -> None:
    rt, run = context.runtime, context.store.arun

    @app.post("/v1/ownership/nonce")
    @access(NODE)
    async def ownership_nonce(request: Request) -> Response:
        node_id, now = request.state.node_id, rt.now()
        return _json(await run(lambda conn: owning.issue_nonce(conn, rt, node_id, now)))

    @app.post("/v1/ownership")
    @access(NODE)
    async def ownership(request: Request) -> Response:
        body, node_id, now = await _decoded(request, OwnershipReport), request.state.node_id, rt.now()
        return _json(await context.tell(await run(lambda conn: owning.report(conn, rt, node_id, body, now))))

    @app.post("/v1/enrolments/{enrolment_id}/index")
    @access(NODE)
    async def index(enrolment_id: str, request: Request) -> Response:
        body, node_id, now = await _decoded(request, IndexRequest), request.state.node_id, rt.now()
        return _json(await run(lambda conn: owning.grant_index(conn, rt, node_id, enrolment_id, body, now)))

    @app.post("/v1/profiles/{record_id}/removal")
    @access(NODE)
    async def removal(record_id: str, request: Request) -> Response:
        body, node_id, now = await _decoded(request, RemovalRequest), request.state.node_id, rt.now()
        return _json(await run(lambda conn: owning.grant_removal(conn, rt, node_id, record_id, body, now)))


def _challenge_routes(app: FastAPI, context: NodeContext) -> None:
    rt, run = context.runtime, context.store.arun

    @app.post("/v1/challenges/{challenge_id}/begin")
    @access(NODE)
    async def begin(challenge_id: str, request: Request) -> Response:
        body, node_id, now = await _decoded(request, BeginRequest), request.state.node_id, rt.now()
        return _json(await run(lambda conn: challenges.begin(conn, rt, node_id, challenge_id, body, now)))

    @app.post("/v1/challenges/{challenge_id}/evidence")
    @access(NODE)
    async def evidence(challenge_id: str, request: Request) -> Response:
        body, node_id, now = await _decoded(request, EvidenceSubmission), request.state.node_id, rt.now()
        certificate, begun = request.scope["state"][CERTIFICATE_KEY], time.perf_counter()
        decided = await run(
            lambda conn: challenges.submit_evidence(conn, rt, node_id, certificate, challenge_id, body, now)
        )
        context.meter.judged(time.perf_counter() - begun)
        return _json(await context.tell(decided))

    @app.post("/v1/challenges/{challenge_id}/failure")
    @access(NODE)
    async def failure(challenge_id: str, request: Request) -> Response:
        body, node_id, now = await _decoded(request, FailureSubmission), request.state.node_id, rt.now()
        decided = await run(lambda conn: challenges.report_failure(conn, rt, node_id, challenge_id, body, now))
        return _json(await context.tell(decided))

    @app.post("/v1/challenges/{challenge_id}/group")
    @access(NODE)
    async def group(challenge_id: str, request: Request) -> Response:
        body, node_id, now = await _decoded(request, GroupSubmission), request.state.node_id, rt.now()
        decided = await run(lambda conn: groups.answer(conn, rt, node_id, challenge_id, body, now))
        return _json(await context.tell(decided))

    @app.post("/v1/checkin")
    @access(NODE)
    async def check_in(request: Request) -> Response:
        node_id, now = request.state.node_id, rt.now()
        pushes = await run(lambda conn: scheduler.check_in(conn, rt, node_id, now))
        return _json(await context.tell(({}, pushes)))

    @app.post("/v1/attest")
    @access(NODE)
    async def attest(request: Request) -> Response:
        body, node_id, now = await _decoded(request, AttestSubmission, LOG_BYTES), request.state.node_id, rt.now()
        decided = await run(lambda conn: challenges.attest(conn, rt, node_id, body, now))
        context.meter.attested(decided[0].outcome)
        return _json(await context.tell(decided))


def _delivery_routes(app: FastAPI, context: NodeContext) -> None:
    rt, run = context.runtime, context.store.arun

    @app.get("/v1/deliveries")
    @access(NODE)
    async def deliveries(request: Request, after: Annotated[int, Query(ge=0, le=LARGEST_NUMBER)] = 0) -> Response:
        node_id = request.state.node_id
        return _json(await run(lambda conn: challenges.deliveries_after(conn, node_id, after)))

    @app.post("/v1/deliveries/{number}/ack")
    @access(NODE)
    async def acknowledge(number: Annotated[int, Path(ge=0, le=LARGEST_NUMBER)], request: Request) -> Response:
        body, node_id, now = await _decoded(request, DeliveryAck), request.state.node_id, rt.now()
        waited, pushes = await run(
            lambda conn: (
                challenges.waited_for(conn, node_id, number, now),
                challenges.acknowledge(conn, rt, node_id, number, body, now),
            )
        )
        context.meter.acknowledged(waited, installed=body.installed)
        return _json(await context.tell(({}, pushes)))


def _signal_route(app: FastAPI, context: NodeContext) -> None:
    rt, run = context.runtime, context.store.arun

    @app.post("/v1/signals")
    @access(NODE)
    async def signal(request: Request) -> Response:
        now = rt.now()
        context.signal_limit.check(request.state.node_id, now)
        body, source = await _decoded(request, SignalReport), signals.Source(request.state.node_id, node=True)
        return _json(await context.tell(await run(lambda conn: signals.record(conn, rt, source, body, now))))


def _log_route(app: FastAPI, context: NodeContext) -> None:
    @app.get("/v1/log/consistency")
    @access(NODE)
    async def consistency(
        first: Annotated[int, Query(alias="from", ge=0, le=LARGEST_NUMBER)],
        second: Annotated[int, Query(alias="to", ge=0, le=LARGEST_NUMBER)],
    ) -> Response:
        return _json(await context.store.arun(lambda conn: checkpoints.consistency(conn, first, second)))


def _event_route(app: FastAPI, context: NodeContext) -> None:
    rt, hub = context.runtime, context.hub

    @app.websocket("/v1/events")
    @access(NODE)
    async def events(socket: WebSocket) -> None:
        node_id = socket.state.node_id
        await socket.accept()
        connection = Connection(node_id, socket.send_text)
        with hub.attached(connection):
            now = rt.now()
            for event in await context.store.arun(lambda conn: challenges.open_events(conn, rt, node_id, now)):
                connection.offer(event)
            code = await connection.run(_silence(socket))
        await _close(socket, code)


async def _silence(socket: WebSocket) -> None:
    """Until the node closes, or says something: there is nothing for it to say here."""
    await socket.receive()


async def _close(socket: WebSocket, code: CloseCode) -> None:
    """Say why, to a node that is still there."""
    if socket.client_state is WebSocketState.CONNECTED:
        with contextlib.suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(CLOSE_S):
                await socket.close(code)


def _registered(conn: Transaction, thumbprint: str, now: float) -> str | None:
    row = joining.node_of_certificate(conn, thumbprint, now)
    if row is None:
        return None
    if row.last_seen_at is None or not 0 <= now - row.last_seen_at < SEEN_S:
        conn.execute(update(schema.node).where(schema.node.c.id == row.id).values(last_seen_at=now))
    return str(row.id)


async def _decoded(request: Request, kind: type[T], limit: int = BODY_BYTES) -> T:
    """The body as exactly a `kind`; raises `ProtocolViolation`, and `Refused` when it is too long or too slow."""
    return decode(await read_body(request, limit), kind)


def _json(message: Any) -> Response:
    return Response(encode(message), media_type=JSON)
