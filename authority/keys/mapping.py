"""The mapping service: (network, virtual address) to physical node, asked by operators and nodes, changed by both."""

from __future__ import annotations

import ipaddress
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from sqlalchemy import Connection, Row, Select, select, update

from authority import audit
from authority.alerts import raise_alert
from authority.keys.associations import Member, may_associate
from authority.keys.networks import ip_address
from authority.keys.orchestrator import reconcile
from authority.keys.planning import place_of
from authority.keys.versions import numbers_by_state
from authority.refusal import Refused
from authority.runtime import Push, Refusal, Runtime
from authority.store import schema
from authority.trust import choose_version, distribute_key
from protocol.levels import NodeState, ResourceClass
from protocol.mapping import WIREGUARD_KEY_BYTES, DataPlaneReport, MappingAnswer
from protocol.problems import ErrorCode

View = dict[str, Any]
_node, _member = schema.node, schema.member
_BROADCAST = "255.255.255.255"


def listing(conn: Connection, network: str | None = None, address: str | None = None) -> list[View]:
    """Every mapping of a network, or of all: address, node, class and where the node is reached."""
    query = _places()
    if network is not None:
        query = query.where(_member.c.network == network)
    if address is not None:
        query = query.where(_member.c.address == ip_address(address))
    return [_view(row) for row in conn.execute(query.order_by(_member.c.network, _member.c.address))]


def answer(conn: Connection, node_id: str, network: str, address: str) -> MappingAnswer:
    """Who is at an address, for a member of the network; raises `Refused`, alike for whatever it may not know."""
    unknown = Refused(ErrorCode.NOT_FOUND, 404, "nothing at this address is for this node to know")
    here = _places().where(_member.c.network == network)
    mine = conn.execute(here.where(_member.c.node_id == node_id)).first()
    there = conn.execute(here.where(_member.c.address == ip_address(address))).first()
    if mine is None or there is None:
        raise unknown
    numbers = numbers_by_state(conn, network)
    asking, found = (_as_member(row, numbers) for row in (mine, there))
    if not may_associate(asking, found):
        raise unknown
    return MappingAnswer(
        network=network, peer=place_of(there), resource_class=found.resource_class, version=found.version
    )


def set_endpoint(
    conn: Connection, rt: Runtime, node_id: str, endpoint: str | None, actor: str, now: float
) -> list[Push]:
    """As `write_endpoint`, and deliver what follows."""
    write_endpoint(conn, node_id, endpoint, actor, now)
    return tell(conn, rt, node_id, now)


def write_endpoint(conn: Connection, node_id: str, endpoint: str | None, actor: str, now: float) -> None:
    """Say where a node is reached, whatever it reports itself; none leaves it to the node again. Raises `Refused`."""
    pinned = endpoint is not None
    values = {"endpoint": unicast(endpoint) if endpoint is not None else "", "endpoint_pinned": pinned}
    conn.execute(update(_node).where(_node.c.id == node_id).values(**values))
    audit.append(conn, "endpoint-set", actor, node_id, values, now)


def change_member(
    conn: Connection,
    rt: Runtime,
    network: str,
    node_id: str,
    address: str | None,
    resource_class: ResourceClass | None,
    now: float,
) -> list[Push]:
    """Give a member another address or class; raises `Refused`."""
    mine = (_member.c.network == network) & (_member.c.node_id == node_id)
    row = conn.execute(select(_member).where(mine)).first()
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"the node is no member of {network}", "Add it with `network add`.")
    wanted = row.address if address is None else ip_address(address)
    taken = (_member.c.network == network) & (_member.c.address == wanted) & (_member.c.node_id != node_id)
    if conn.scalar(select(_member.c.node_id).where(taken)) is not None:
        raise Refusal(f"{wanted} is taken in {network}", "Choose another address.")
    values = {"address": wanted, "resource_class": (resource_class or ResourceClass(row.resource_class)).value}
    conn.execute(update(_member).where(mine).values(**values))
    return reconcile(conn, rt, network, now)


def take_report(conn: Connection, rt: Runtime, node_id: str, report: DataPlaneReport, now: float) -> list[Push]:
    """Take what a node says of its data plane, and tell its peers if anything changed; raises `Refused`."""
    node = conn.execute(select(_node).where(_node.c.id == node_id)).one()
    _check_wireguard(conn, node, report, now)
    values: View = {"wireguard_public": report.wireguard_public, "wireguard_port": report.wireguard_port}
    if _takes_endpoint(rt, node):
        values["endpoint"] = unicast(report.endpoint) if report.endpoint else ""
    if all(getattr(node, name) == value for name, value in values.items()):
        return []
    conn.execute(update(_node).where(_node.c.id == node_id).values(**values))
    detail = {**values, "wireguard_public": report.wireguard_public.hex()}
    audit.append(conn, "data-plane", node_id, node_id, detail, now)
    return tell(conn, rt, node_id, now)


def tell(conn: Connection, rt: Runtime, node_id: str, now: float) -> list[Push]:
    """Bundles that follow from a changed place, in every network of the node."""
    networks = conn.scalars(select(_member.c.network).where(_member.c.node_id == node_id).order_by(_member.c.network))
    return [push for network in networks.all() for push in reconcile(conn, rt, network, now)]


def unicast(text: str) -> str:
    """An IP address that packets can be sent to, in its usual form; raises `Refused`."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or "%" in text or address.is_unspecified or address.is_multicast or str(address) == _BROADCAST:
        text = "an endpoint is the IPv4 or IPv6 address of one host, without a zone"
        raise Refused(ErrorCode.MALFORMED, 422, text, "Give it like 192.0.2.5 or 2001:db8::5.")
    return str(address)


def _places() -> Select[Any]:
    columns = (_node.c.name, _node.c.state, _node.c.lab, _node.c.score, _node.c.tier)
    place = (_node.c.endpoint, _node.c.endpoint_pinned, _node.c.wireguard_public, _node.c.wireguard_port)
    return select(_member, *columns, *place).join(_node, _node.c.id == _member.c.node_id)


def _view(row: Row[Any]) -> View:
    names = ("network", "address", "node_id", "resource_class", "endpoint", "endpoint_pinned", "wireguard_port")
    shown = {name: getattr(row, name) for name in names}
    return {**shown, "node": row.name, "state": row.state, "wireguard_public": row.wireguard_public.hex()}


def _as_member(row: Row[Any], numbers: Any) -> Member:
    grant = distribute_key(row.score)
    return Member(
        node_id=row.node_id,
        name=row.name,
        state=NodeState(row.state),
        lab=row.lab,
        grant=grant,
        version=choose_version(grant, numbers),
        resource_class=ResourceClass(row.resource_class),
    )


def _takes_endpoint(rt: Runtime, node: Row[Any]) -> bool:
    match rt.policy.mapping.reported_endpoints:
        case "always":
            return True
        case "unset":
            return not node.endpoint_pinned
        case _:
            return False


def _check_wireguard(conn: Connection, node: Row[Any], report: DataPlaneReport, now: float) -> None:
    """Refuse what is no key, and above all a key of another node: WireGuard takes both for one peer."""
    key = report.wireguard_public
    if not key and not report.wireguard_port:
        return
    if len(key) != WIREGUARD_KEY_BYTES or not report.wireguard_port or _is_low_order(key):
        text = "a WireGuard key has 32 bytes, is a point of full order, and comes with a port"
        raise Refused(ErrorCode.MALFORMED, 422, text)
    others = (_node.c.wireguard_public == key) & (_node.c.id != node.id) & (_node.c.state != NodeState.RETIRED)
    owner = conn.execute(select(_node.c.id, _node.c.name).where(others)).first()
    if owner is None:
        return
    text = f"{node.name} reports the WireGuard key of {owner.name} as its own"
    raise_alert(conn, "error", "wireguard-key-taken", node.id, text, {"owner": owner.id}, now)
    audit.append(conn, "data-plane-refused", node.id, node.id, {"cause": "key of another node", "of": owner.id}, now)
    raise Refusal("this WireGuard key is another node's", "Make a key of this node's own.")


def _is_low_order(key: bytes) -> bool:
    """RFC 7748, section 6.1: with such a point every secret is the same."""
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(key))
    except ValueError:
        return True
    return False
