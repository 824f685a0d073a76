"""Both planes: the mapping service, asked and changed by operators, asked and informed by nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row
from starlette.responses import Response

from authority import api, audit
from authority.keys import mapping, mapping_file, networks
from authority.operators import Operator
from authority.planes.access import NODE, OPERATOR, access
from authority.planes.described import answers
from authority.planes.limits import RateLimit, read_body
from authority.planes.paging import AfterName, PageOf
from authority.roles import Scope
from authority.runtime import Push
from protocol.codec import decode, encode
from protocol.levels import ResourceClass
from protocol.mapping import DataPlaneReport

if TYPE_CHECKING:
    from authority.planes.node_plane import NodeContext
    from authority.planes.operator_context import OperatorContext

View = dict[str, Any]
Demand = Callable[[Scope], Callable[[Request], Awaitable[Operator]]]
FindNode = Callable[[Connection, str], Row[Any]]
REPORT_BYTES = 4096


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EndpointRequest(_Body):
    """Where a node is reached; none leaves it to the node's own report."""

    endpoint: str | None = Field(max_length=64)


class PlaceRequest(_Body):
    """What changes of a node's place in a network."""

    address: str | None = Field(None, max_length=64)
    resource_class: ResourceClass | None = None


class ImportRequest(_Body):
    """A mapping document, and whether it shall only be compared."""

    mapping: View
    dry_run: bool = False


def mapping_routes(app: FastAPI, context: OperatorContext, demand: Demand, node: FindNode) -> None:
    """The operators' side; `node` finds a node by its name."""
    _view_routes(app, context, demand)
    _change_routes(app, context, demand, node)
    operate, rt = Depends(demand(Scope.OPERATE)), context.runtime

    @app.post("/v1/mapping/import")
    @answers(api.MappingChanges)
    @access(OPERATOR)
    async def import_mapping(body: ImportRequest, operator: Operator = operate) -> View:
        """Bring the mapping to what a document says, whole or not at all."""
        document = mapping_file.parse(body.mapping)

        def act(conn: Connection) -> tuple[list[mapping_file.Change], list[Push]]:
            who, now = operator.name, rt.now()
            return mapping_file.import_mapping(conn, rt, document, who, now, dry_run=body.dry_run)

        changes, pushes = await context.store.arun(act)
        await context.hub.push(pushes)
        return {"dry_run": body.dry_run, "changes": [change.as_dict() for change in changes]}


def _view_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    read = [Depends(demand(Scope.READ))]

    @app.get("/v1/mapping", dependencies=read)
    @answers(list[api.Place])
    @access(OPERATOR)
    async def list_mapping(
        page: PageOf, network: str | None = None, address: str | None = None, after: AfterName = ""
    ) -> list[View]:
        """Which node is at which address, and where it is reached; `after` is a network, a slash and an address."""
        found: list[View] = await context.read(lambda conn: mapping.listing(conn, network, address))
        return page.cut(sorted(found, key=_place), after, _place)

    @app.get("/v1/mapping/export", dependencies=read)
    @answers(api.MappingDocument)
    @access(OPERATOR)
    async def export_mapping() -> View:
        """The mapping as a document that can be imported."""
        document: View = msgspec.to_builtins(await context.read(mapping_file.export))
        return document


def _place(view: View) -> str:
    return f"{view['network']}/{view['address']}"


def _change_routes(app: FastAPI, context: OperatorContext, demand: Demand, node: FindNode) -> None:
    operate, rt = Depends(demand(Scope.OPERATE)), context.runtime

    @app.post("/v1/mapping/nodes/{name}")
    @answers(api.Done)
    @access(OPERATOR)
    async def set_endpoint(name: str, body: EndpointRequest, operator: Operator = operate) -> View:
        """Say where a node is reached."""
        return await context.act(
            lambda conn: mapping.set_endpoint(conn, rt, node(conn, name).id, body.endpoint, operator.name, rt.now())
        )

    @app.post("/v1/networks/{network}/members/{name}")
    @answers(api.Done)
    @access(OPERATOR)
    async def change_member(network: str, name: str, body: PlaceRequest, operator: Operator = operate) -> View:
        """Give a member another address or class."""

        def change(conn: Connection) -> list[Push]:
            node_id, place = node(conn, name).id, (body.address, body.resource_class)
            pushes = mapping.change_member(conn, rt, network, node_id, *place, rt.now())
            detail = {"network": network, **body.model_dump(mode="json", exclude_none=True)}
            audit.append(conn, "member", operator.name, node_id, detail, rt.now())
            return pushes

        return await context.act(change)

    @app.post("/v1/networks/{network}/members/{name}/remove")
    @answers(api.Done)
    @access(OPERATOR)
    async def remove_member(network: str, name: str, operator: Operator = operate) -> View:
        """Take a node out of a network."""
        return await context.act(
            lambda conn: networks.remove_member(conn, rt, network, node(conn, name).id, operator.name, rt.now())
        )


@dataclass(frozen=True)
class NodeLimits:
    """How often one node may report and ask: every change of a report costs every peer a delivery."""

    reports: RateLimit = field(default_factory=lambda: RateLimit(burst=10, rate=0.05))
    questions: RateLimit = field(default_factory=lambda: RateLimit(burst=120, rate=2.0))


def node_mapping_routes(app: FastAPI, context: NodeContext, limits: NodeLimits) -> None:
    """The nodes' side."""
    rt, run = context.runtime, context.store.arun

    @app.put("/v1/data-plane")
    @access(NODE)
    async def data_plane(request: Request) -> Response:
        node_id, now = request.state.node_id, rt.now()
        limits.reports.check(node_id, now)
        body = decode(await read_body(request, REPORT_BYTES), DataPlaneReport)
        await context.hub.push(await run(lambda conn: mapping.take_report(conn, rt, node_id, body, now)))
        return Response(encode({}), media_type="application/json")

    @app.get("/v1/mapping/{network}/{address}")
    @access(NODE)
    async def look_up(network: str, address: str, request: Request) -> Response:
        node_id = request.state.node_id
        limits.questions.check(node_id, rt.now())
        found = await run(lambda conn: mapping.answer(conn, node_id, network, address))
        return Response(encode(found), media_type="application/json")
