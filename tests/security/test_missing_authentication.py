"""CVE-2026-1709: a registrar stopped asking for the client's certificate, on every route, for a year."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from authority.operators import Operator
from authority.pki import CertificateAuthority
from authority.planes import Hub, node_plane
from authority.planes.access import NODE, OPERATOR, AccessUndeclared, access, check_access_declared, declared_access
from authority.planes.gate import Gate, check_scopes_demanded
from authority.planes.node_plane import NodeContext, create_node_app
from authority.planes.operator_context import OperatorContext
from authority.planes.operator_plane import create_operator_app
from authority.roles import Scope
from authority.store import Store
from tests.authority.planes.plane import HOST, Client, Plane, make_runtime, open_plane
from tests.security.broken import NOTICED, passes, replaced


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of every route that demands somebody."""
    found = [
        each for each in app.routes if isinstance(each, APIRoute) and declared_access(each.endpoint) != "anonymous"
    ]
    return [(method, each.path_format) for each in found for method in sorted(each.methods)]


def filled(path: str) -> str:
    return path.replace("{number}", "1").replace("{", "").replace("}", "")


def node_routes(plane: Plane) -> list[tuple[str, str]]:
    app = create_node_app(plane.store, make_runtime(plane.ca), plane.ca, [], [], plane.hub)
    found = routes(app)
    assert len(found) > 5
    return found


def nobody(plane: Plane) -> list[Client]:
    """Without a certificate; with one that is expired, of a node nobody registered, or of a banned node."""
    unknown = Client.of(plane, plane.ca, "unknown", "1" * 64)
    banned = plane.node("banned", state="banned")
    old = Client.of(plane, plane.ca, "old", "2" * 64, begins=time.time() - 7200, lasts=3600)
    return [plane.stranger(), unknown, banned, old]


def status(client: Client, method: str, path: str) -> int:
    """The answer's status; 401 where the handshake itself is refused."""
    with suppress(httpx.TransportError, ssl.SSLError):
        return client.request(method, filled(path), b"{}").status_code
    return 401


def check_every_route_knows_its_node(plane: Plane) -> None:
    for client in nobody(plane):
        for method, path in node_routes(plane):
            assert status(client, method, path) == 401, (method, path)


def check_no_other_authority_vouches(plane: Plane, foreign: CertificateAuthority) -> None:
    """The right name and id in a certificate of a CA that somebody made themselves."""
    known = plane.node("known")
    forged = Client.of(plane, foreign, "known", known.node_id)
    assert status(known, "GET", "/v1/deliveries") == 200
    assert status(forged, "GET", "/v1/deliveries") == 401


def operator_app(folder: Path) -> FastAPI:
    ca = CertificateAuthority.create(folder / "ca", [HOST], time.time())
    return create_operator_app(OperatorContext(Store("sqlite://"), make_runtime(ca), Hub(), ca.ca_sha256))


def check_every_route_knows_its_operator(app: FastAPI) -> None:
    found = routes(app)
    assert len(found) > 20
    for header in ({}, {"authorization": "Bearer kvo1.guessed"}, {"authorization": "Basic YTpi"}):
        for method, path in found:
            assert asyncio.run(asked(app, method, filled(path), header)) == 401, (method, path)


async def asked(app: FastAPI, method: str, path: str, headers: dict[str, str]) -> int:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="https://authority") as http:
        return (await http.request(method, path, json={}, headers=headers)).status_code


def check_a_forgotten_route_is_never_served(app: FastAPI) -> None:
    @app.get("/forgotten")
    async def forgotten() -> str:
        return ""

    with pytest.raises(AccessUndeclared):
        node_plane.check_access_declared(app)


def test_every_route_of_the_node_plane_knows_its_node(plane: Plane) -> None:
    check_every_route_knows_its_node(plane)


def test_no_other_authority_vouches_for_a_node(plane: Plane, tmp_path: Path) -> None:
    check_no_other_authority_vouches(plane, CertificateAuthority.create(tmp_path / "ca", [HOST], time.time()))


def test_a_plane_that_asks_nobody_is_noticed(tmp_path: Path) -> None:
    async def admits(context: NodeContext, connection: object) -> None: ...

    with replaced(NodeContext, "guard", admits), open_plane(tmp_path) as opened, pytest.raises(NOTICED):
        check_every_route_knows_its_node(opened)


def test_a_plane_that_asks_no_register_is_noticed(tmp_path: Path) -> None:
    """Any certificate of the CA will do, as that of an agent did for the registrar's administration."""
    with (
        replaced(node_plane, "_registered", lambda _conn, thumbprint, _now: thumbprint),
        open_plane(tmp_path) as opened,
        pytest.raises(NOTICED),
    ):
        check_every_route_knows_its_node(opened)


def test_every_route_of_the_operator_plane_knows_its_operator(tmp_path: Path) -> None:
    check_every_route_knows_its_operator(operator_app(tmp_path))


def test_an_operator_plane_that_asks_nobody_is_noticed(tmp_path: Path) -> None:
    async def anybody(*_: object) -> Operator:
        return Operator("anybody", frozenset({Scope.ADMIN}))

    app = operator_app(tmp_path)
    with replaced(Gate, "admit", anybody), pytest.raises(NOTICED):
        check_every_route_knows_its_operator(app)


def test_a_route_for_operators_of_whatever_scope_is_never_served(tmp_path: Path) -> None:
    app = operator_app(tmp_path)

    @app.get("/scopeless")
    @access(OPERATOR)
    async def scopeless() -> str:
        return ""

    with pytest.raises(AccessUndeclared, match="/scopeless"):
        check_scopes_demanded(app)


def test_a_forgotten_route_is_never_served() -> None:
    check_a_forgotten_route_is_never_served(FastAPI(docs_url=None, redoc_url=None))


def test_a_plane_that_serves_forgotten_routes_is_noticed() -> None:
    with replaced(node_plane, "check_access_declared", passes), pytest.raises(NOTICED):
        check_a_forgotten_route_is_never_served(FastAPI(docs_url=None, redoc_url=None))


def test_declaring_is_enough_for_the_check() -> None:
    """The control: it is the missing declaration that is refused."""
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/declared")
    @access(NODE)
    async def declared() -> str:
        return ""

    check_access_declared(app)
