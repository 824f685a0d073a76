"""The mapping as a JSON document: exported whole, checked whole before the first change, idempotent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import Connection, insert, select, update

from authority import audit
from authority.keys.mapping import unicast, write_endpoint
from authority.keys.networks import create_network, ip_address, take_slot
from authority.keys.orchestrator import reconcile
from authority.refusal import Refused
from authority.runtime import Push, Runtime
from authority.store import schema
from protocol.bounds import Name
from protocol.levels import NodeState, ResourceClass
from protocol.problems import ErrorCode

FORMAT: Literal["keyvigil-mapping/1"] = "keyvigil-mapping/1"
MOST_NETWORKS, MOST_MEMBERS = 1000, 10_000
_node, _member = schema.node, schema.member
View = dict[str, Any]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the document; unknown keys are errors."""


class MappedMember(_Part, frozen=True):
    """A node's place in a network."""

    node: Name
    address: Annotated[str, msgspec.Meta(max_length=64)]
    resource_class: ResourceClass = ResourceClass.NORMAL


class MappedNetwork(_Part, frozen=True):
    """A network and its members."""

    name: Name
    members: Annotated[list[MappedMember], msgspec.Meta(max_length=MOST_MEMBERS)] = []


class Mapping(_Part, frozen=True):
    """The document. What it does not name stays as it is; `endpoints` are those that operators set, by node."""

    format: Literal["keyvigil-mapping/1"]
    networks: Annotated[list[MappedNetwork], msgspec.Meta(max_length=MOST_NETWORKS)] = []
    endpoints: dict[Name, Annotated[str, msgspec.Meta(max_length=64)]] = {}


@dataclass(frozen=True)
class Change:
    """One difference between document and database; `was` is empty for what is new."""

    kind: Literal["network", "member", "endpoint"]
    network: str
    node: str
    was: View
    becomes: View

    def as_dict(self) -> View:
        """By name, for people and programs."""
        return {name: getattr(self, name) for name in ("kind", "network", "node", "was", "becomes")}


def export(conn: Connection) -> Mapping:
    """The whole mapping; importing it again changes nothing."""
    names = conn.scalars(select(schema.network.c.name).order_by(schema.network.c.name)).all()
    pinned = select(_node.c.name, _node.c.endpoint).where(_node.c.endpoint_pinned).order_by(_node.c.name)
    return Mapping(
        format=FORMAT,
        networks=[MappedNetwork(name=name, members=_exported(conn, name)) for name in names],
        endpoints={row.name: row.endpoint for row in conn.execute(pinned)},
    )


def parse(document: object) -> Mapping:
    """The document in parsed JSON; raises `Refused` naming the place that is wrong."""
    try:
        return msgspec.convert(document, Mapping)
    except msgspec.ValidationError as error:
        raise _malformed(f"the mapping cannot be used: {error}") from None


def import_mapping(
    conn: Connection, rt: Runtime, mapping: Mapping, actor: str, now: float, *, dry_run: bool
) -> tuple[list[Change], list[Push]]:
    """Bring the database to where the document's content holds; raises `Refused` before anything was changed."""
    changes = [*_changes(conn, mapping)]
    if dry_run or not changes:
        return changes, []
    ids = _node_ids(conn)
    for change in changes:
        if change.kind == "network":
            create_network(conn, rt, change.network, now)
            audit.append(conn, "network", actor, None, {"network": change.network}, now)
    _write_members(conn, [change for change in changes if change.kind == "member"], ids, actor, now)
    touched = {change.network for change in changes} - {""}
    for change in changes:
        if change.kind == "endpoint":
            node_id = ids[change.node].id
            write_endpoint(conn, node_id, change.becomes["endpoint"], actor, now)
            touched |= {*conn.scalars(select(_member.c.network).where(_member.c.node_id == node_id))}
    return changes, [push for network in sorted(touched) for push in reconcile(conn, rt, network, now)]


def _exported(conn: Connection, network: str) -> list[MappedMember]:
    query = select(_member, _node.c.name).join(_node, _node.c.id == _member.c.node_id)
    rows = conn.execute(query.where(_member.c.network == network).order_by(_node.c.name))
    return [
        MappedMember(node=row.name, address=row.address, resource_class=ResourceClass(row.resource_class))
        for row in rows
    ]


def _changes(conn: Connection, mapping: Mapping) -> Iterator[Change]:
    nodes = _node_ids(conn)
    known = {*conn.scalars(select(schema.network.c.name))}
    _refuse_twice("network", [network.name for network in mapping.networks])
    for network in mapping.networks:
        if network.name not in known:
            yield Change("network", network.name, "", {}, {"network": network.name})
        yield from _member_changes(conn, nodes, network)
    for name, text in mapping.endpoints.items():
        node, becomes = _found(nodes, name), unicast(text)
        if not node.endpoint_pinned or node.endpoint != becomes:
            yield Change("endpoint", "", name, {"endpoint": node.endpoint}, {"endpoint": becomes})


def _member_changes(conn: Connection, nodes: dict[str, Any], network: MappedNetwork) -> Iterator[Change]:
    _refuse_twice(f"member of {network.name}", [member.node for member in network.members])
    present = {member.node: _place(member) for member in _exported(conn, network.name)}
    wanted = {member.node: _place(member) for member in network.members}
    after = present | wanted
    _refuse_twice(f"address in {network.name}", [place["address"] for place in after.values()])
    if len({_found(nodes, name, retired=name in present).lab for name in after}) > 1:
        raise _malformed(f"{network.name} cannot hold lab nodes together with others")
    for name, place in wanted.items():
        if present.get(name) != place:
            yield Change("member", network.name, name, present.get(name, {}), place)


def _place(member: MappedMember) -> View:
    return {"address": ip_address(member.address), "resource_class": member.resource_class.value}


def _write_members(conn: Connection, changes: list[Change], ids: dict[str, Any], actor: str, now: float) -> None:
    """Addresses may change hands: those that change are vacated first."""
    for change in changes:
        if change.was:
            mine = _is(change, ids)
            conn.execute(update(_member).where(mine).values(address=f"moving-{ids[change.node].id[:48]}"))
    for change in changes:
        node_id = ids[change.node].id
        if change.was:
            conn.execute(update(_member).where(_is(change, ids)).values(**change.becomes))
        else:
            values = {"network": change.network, "node_id": node_id, **change.becomes, "slot": take_slot(conn)}
            conn.execute(insert(_member).values(**values))
        audit.append(conn, "member", actor, node_id, {"network": change.network, **change.becomes}, now)


def _is(change: Change, ids: dict[str, Any]) -> Any:
    return (_member.c.network == change.network) & (_member.c.node_id == ids[change.node].id)


def _node_ids(conn: Connection) -> dict[str, Any]:
    columns = (_node.c.id, _node.c.name, _node.c.lab, _node.c.state, _node.c.endpoint, _node.c.endpoint_pinned)
    return {row.name: row for row in conn.execute(select(*columns))}


def _found(nodes: dict[str, Any], name: str, *, retired: bool = False) -> Any:
    node = nodes.get(name)
    if node is None or (node.state == NodeState.RETIRED and not retired):
        raise Refused(ErrorCode.NOT_FOUND, 404, f"no node named {name!r}", "List nodes with `node list`.")
    return node


def _refuse_twice(what: str, values: list[str]) -> None:
    twice = next((value for value in values if values.count(value) > 1), None) if len({*values}) < len(values) else None
    if twice is not None:
        raise _malformed(f"the mapping names the {what} {twice} twice")


def _malformed(text: str) -> Refused:
    return Refused(ErrorCode.MALFORMED, 422, text, "Correct the file; nothing was changed.")
