"""Every route of both planes is asked by everybody, over mutual TLS; the table says who may.

CVE-2026-1709 again, cell by cell: not only whether a route asks who is there, but whom it lets in.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from fastapi import FastAPI
from fastapi.routing import APIRoute, request_response
from starlette.requests import HTTPConnection, Request
from websockets.exceptions import InvalidStatus, WebSocketException

from authority import audit, operators
from authority.console.desk import Desk
from authority.console.sessions import Session
from authority.operators import Operator, create_operator_token
from authority.pki import CertificateAuthority, thumbprint
from authority.planes import operator_server
from authority.planes.gate import Demanded, Gate, demanded_scope
from authority.planes.node_plane import NodeContext, create_node_app
from authority.planes.operator_context import OperatorContext
from authority.planes.operator_plane import create_operator_app
from authority.roles import ROLES, Role, Scope
from tests.authority.planes.plane import HOST, Client, Plane, listening, make_runtime, open_plane
from tests.authority.planes.route_table import CALLERS, CONSOLE, EVERYBODY, NODE_PLANE, OPERATOR_PLANE, Route
from tests.security.broken import NOTICED, replaced

REFUSED = frozenset({401, 403})
BEGINS_SIGN_IN = ("GET", "/console/sign-in/{provider}")
"""Asks for the form that led there, and for no session."""
PROBES = frozenset({"/metrics", "/healthz", "/readyz", "/v1/health"})
"""Nothing watches this plane, so that they answer 503; what they find is looked at by their own tests."""
Cells = dict[tuple[Route, str], int]


def routes(app: FastAPI) -> set[Route]:
    """Method and path of everything that an application serves."""
    found: set[Route] = set()
    for route in app.routes:
        methods = getattr(route, "methods", None) or {"WEBSOCKET"}
        found |= {(method, route.path) for method in methods - {"HEAD"}}  # type: ignore[attr-defined]
    return found


def filled(path: str) -> str:
    """With a value for each parameter that its route takes."""
    for name, value in {"number": "1", "value_id": "1", "alert_id": "1", "seq": "1", "approval_id": "1"}.items():
        path = path.replace(f"{{{name}}}", value)
    return path.replace("{verb}", "add").replace("{decision}", "hold").replace("{", "").replace("}", "")


class Callers:
    """Everybody who asks, each with what they have to show, against one listener."""

    def __init__(self, plane: Plane, tokens: Mapping[str, str], foreign: CertificateAuthority) -> None:
        agent = plane.node(f"agent-{os.urandom(4).hex()}")
        stranger = plane.stranger()
        self._clients = {"nobody": stranger, "agent": agent}
        self._clients["wrong CA"] = Client.of(plane, foreign, "agent", agent.node_id)
        self._clients |= dict.fromkeys(tokens, stranger)
        self._tokens = tokens

    def ask(self, caller: str, wanted: set[Route]) -> dict[Route, int]:
        """The status of each route's answer; 401 where the handshake itself is refused."""
        client = self._clients[caller]
        headers = {"authorization": f"Bearer {self._tokens[caller]}"} if caller in self._tokens else {}
        with httpx.Client(verify=client.context(), trust_env=False, timeout=20, headers=headers) as http:
            base = f"https://{HOST}:{client.plane.port}"
            return {
                (method, path): socket_status(client, headers)
                if method == "WEBSOCKET"
                else status(http, method, base + filled(path))
                for method, path in sorted(wanted)
            }


def status(http: httpx.Client, method: str, url: str) -> int:
    with suppress(httpx.TransportError, ssl.SSLError):
        body = b"{}" if method != "GET" else None
        return http.request(method, url, content=body, headers={"content-type": "application/json"}).status_code
    return 401


def socket_status(client: Client, headers: dict[str, str]) -> int:
    try:
        with client.events():
            return 101
    except InvalidStatus as error:
        return error.response.status_code
    except (OSError, WebSocketException):
        return 401


def check(cells: Cells, table: Mapping[Route, frozenset[str]]) -> None:
    """Every cell is as the table has it: let in, or refused as nobody (401) or as somebody who may not (403)."""
    wrong = {
        f"{caller}: {method} {path}": found
        for ((method, path), caller), found in cells.items()
        if (found not in REFUSED) is not (caller in table[method, path]) or (found >= 500 and path not in PROBES)
    }
    assert wrong == {}


@contextmanager
def operator_plane(plane: Plane, folder: Path) -> Iterator[tuple[Plane, FastAPI]]:
    rt = make_runtime(plane.ca)
    rt.ear_key, rt.log = plane.ca.ear_key(), plane.ca.log_signer(rt.now())
    plane.store.run(lambda conn: audit.append(conn, "initialised", "authority", None, {}, rt.now()))
    app = create_operator_app(OperatorContext(plane.store, rt, plane.hub, plane.ca.ca_sha256))
    with listening(operator_server(app, plane.ca, HOST, 0)) as running:
        yield Plane(folder, plane.ca, plane.store, plane.hub, running), app


def tokens(plane: Plane) -> dict[str, str]:
    rt = make_runtime(plane.ca)
    rt.random = os.urandom
    return {
        role.value: plane.store.run(
            lambda conn, role=role: create_operator_token(conn, rt, role.value, [*ROLES[role]], 3600)
        )
        for role in Role
    }


def foreign(folder: Path) -> CertificateAuthority:
    return CertificateAuthority.create(folder / "foreign", [HOST], time.time())


def asked(callers: Callers, wanted: set[Route], who: tuple[str, ...] = CALLERS) -> Cells:
    return {(route, caller): found for caller in who for route, found in callers.ask(caller, wanted).items()}


@pytest.fixture
def callers(plane: Plane, tmp_path: Path) -> Callers:
    """Of the node plane."""
    return Callers(plane, tokens(plane), foreign(tmp_path))


@pytest.fixture
def served(plane: Plane, tmp_path: Path) -> Iterator[tuple[Callers, FastAPI]]:
    """An operator plane and its callers."""
    with operator_plane(plane, tmp_path) as (there, app):
        yield Callers(there, tokens(plane), foreign(tmp_path)), app


def node_app(plane: Plane) -> FastAPI:
    return create_node_app(plane.store, make_runtime(plane.ca), plane.ca, [], [], plane.hub)


def test_every_route_has_an_entry_and_every_entry_a_route(plane: Plane, served: tuple[Callers, FastAPI]) -> None:
    assert routes(node_app(plane)) == {*NODE_PLANE}
    assert routes(served[1]) == {*OPERATOR_PLANE}


def test_a_route_without_an_entry_is_noticed(plane: Plane) -> None:
    app = node_app(plane)

    @app.get("/v1/added")
    async def added() -> str:
        return ""

    assert routes(app) - {*NODE_PLANE} == {("GET", "/v1/added")}


def test_the_node_plane_lets_in_whom_the_table_names(callers: Callers) -> None:
    check(asked(callers, {*NODE_PLANE}), NODE_PLANE)


def test_the_operator_plane_lets_in_whom_the_table_names(served: tuple[Callers, FastAPI]) -> None:
    check(asked(served[0], {*OPERATOR_PLANE}), OPERATOR_PLANE)


def test_a_node_plane_without_its_guard_is_noticed(tmp_path: Path) -> None:
    async def admits(_self: NodeContext, connection: HTTPConnection) -> None:
        connection.state.node_id = "0" * 64

    with replaced(NodeContext, "guard", admits), open_plane(tmp_path) as opened:
        callers = Callers(opened, tokens(opened), foreign(tmp_path))
        with pytest.raises(NOTICED):
            check(asked(callers, {*NODE_PLANE}, ("nobody",)), NODE_PLANE)


def test_an_operator_plane_without_its_gate_is_noticed(served: tuple[Callers, FastAPI]) -> None:
    async def admits(*_: object) -> Operator:
        return Operator("anybody", frozenset({Scope.ADMIN}))

    with replaced(Gate, "admit", admits), pytest.raises(NOTICED):
        check(asked(served[0], {*OPERATOR_PLANE}, ("nobody",)), OPERATOR_PLANE)


def test_scopes_that_nobody_looks_at_are_noticed(served: tuple[Callers, FastAPI]) -> None:
    with replaced(Operator, "may", lambda *_: True):
        for caller in ("viewer", "auditor", "operator", "tap"):
            with pytest.raises(NOTICED):
                check(asked(served[0], {*OPERATOR_PLANE}, (caller,)), OPERATOR_PLANE)


def test_a_console_without_its_sessions_is_noticed(served: tuple[Callers, FastAPI]) -> None:
    async def admits(*_: object) -> Session:
        return Session(Operator("anybody", frozenset({Scope.ADMIN})), "", "", 1e12, "")

    with replaced(Desk, "_session", admits):
        cells = asked(served[0], {*CONSOLE}, ("nobody",))
    for row, who in CONSOLE.items():
        if row[0] == "GET" and not who and row != BEGINS_SIGN_IN:
            with pytest.raises(NOTICED):
                check({(row, "nobody"): cells[row, "nobody"]}, CONSOLE)


def test_each_route_whose_guard_is_taken_out_is_noticed(served: tuple[Callers, FastAPI]) -> None:
    for route in served[1].routes:
        if isinstance(route, APIRoute) and demanded_scope(route) is not None:
            take_guard_out(route)
    rows = {row for row, who in OPERATOR_PLANE.items() if who and who != EVERYBODY}
    cells = asked(served[0], rows, ("nobody",))
    for row in rows:
        with pytest.raises(NOTICED):
            check({(row, "nobody"): cells[row, "nobody"]}, OPERATOR_PLANE)


class Anybody(Demanded):
    async def __call__(self, request: Request) -> Operator:
        return Operator("anybody", frozenset({Scope.ADMIN}))


def take_guard_out(route: APIRoute) -> None:
    """The route as it would be without gate and scope."""
    for dependency in route.dependant.dependencies:
        if isinstance(dependency.call, Demanded):
            dependency.call = Anybody(dependency.call.scope)
    route.app = request_response(APIRoute.get_route_handler(route))


def test_a_registered_certificate_is_an_operator_s_and_no_other_is(plane: Plane, tmp_path: Path) -> None:
    """Of a CA of the site's own; what its owner may is what was registered."""
    site_ca = foreign(tmp_path)
    rt = make_runtime(plane.ca)
    app = create_operator_app(OperatorContext(plane.store, rt, plane.hub, plane.ca.ca_sha256))
    with listening(operator_server(app, plane.ca, HOST, 0, operator_ca=site_ca.ca_file)) as running:
        there = Plane(tmp_path, plane.ca, plane.store, plane.hub, running)
        mine, other = (Client.of(there, site_ca, name, "0" * 64) for name in ("carol", "dave"))
        register(plane, "carol", mine.certificate, rt.now())
        cells = {name: each.get("/v1/nodes").status_code for name, each in (("carol", mine), ("dave", other))}
        assert cells == {"carol": 200, "dave": 401}
        assert mine.post("/v1/networks").status_code == 403
        assert mine.request("GET", "/v1/nodes", headers={"authorization": "Bearer kvo1.wrong"}).status_code == 401


def register(plane: Plane, name: str, file: Path | None, now: float) -> None:
    assert file is not None
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    given = {"name": name, "kind": "certificate", "scopes": ["read"], "lifetime_s": 600.0}
    given["lookup"] = thumbprint(certificate)
    plane.store.run(lambda conn: operators.register(conn, given, "first-operator", now))
