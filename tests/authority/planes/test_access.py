"""An application with an endpoint that does not say who may use it is never served."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, WebSocket
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from authority.planes.access import ANONYMOUS, NODE, OPERATOR, AccessUndeclared, access, check_access_declared


def declared() -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/open")
    @access(ANONYMOUS)
    async def everybody() -> str:
        return ""

    @app.websocket("/events")
    @access(NODE)
    async def events(socket: WebSocket) -> None: ...

    @app.post("/act")
    @access(OPERATOR)
    async def act() -> str:
        return ""

    return app


def test_an_application_that_declares_everything_may_start() -> None:
    check_access_declared(declared())


def test_a_route_without_access_refuses_to_start() -> None:
    app = declared()

    @app.get("/forgotten")
    async def forgotten() -> str:
        return ""

    with pytest.raises(AccessUndeclared, match="/forgotten"):
        check_access_declared(app)


def test_a_socket_without_access_refuses_to_start() -> None:
    app = declared()

    @app.websocket("/silent")
    async def silent(socket: WebSocket) -> None: ...

    with pytest.raises(AccessUndeclared, match="/silent"):
        check_access_declared(app)


def test_what_is_mounted_or_added_by_hand_counts_too() -> None:
    async def plain(request: object) -> PlainTextResponse:
        return PlainTextResponse("")

    for route in (Route("/by-hand", plain), Mount("/mounted", FastAPI())):
        app = declared()
        app.router.routes.append(route)
        with pytest.raises(AccessUndeclared, match=route.path):
            check_access_declared(app)


def test_the_order_of_the_two_decorators_does_not_matter() -> None:
    app = declared()

    @access(NODE)
    @app.get("/turned")
    async def turned() -> str:
        return ""

    check_access_declared(app)


def test_a_page_of_documentation_is_a_route_like_any_other() -> None:
    app = FastAPI(docs_url="/docs", redoc_url=None)
    with pytest.raises(AccessUndeclared, match="/docs"):
        check_access_declared(app)
