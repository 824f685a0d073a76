"""Virtual networks: created with a version for every tier, given members, rotated, looked up."""

from __future__ import annotations

import ipaddress
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from authority import audit
from authority.keys import stragglers
from authority.keys.orchestrator import expel, reconcile
from authority.keys.versions import FIRST_STATES, add_version, move_down, raise_floor, stage
from authority.refusal import Refused
from authority.runtime import Push, Refusal, Runtime
from authority.store import schema
from protocol.key_schedule import SLOT_BITS
from protocol.levels import NodeState, ResourceClass
from protocol.problems import ErrorCode


def create_network(conn: Connection, rt: Runtime, name: str, now: float) -> None:
    """A network with an outdated, a previous and a latest version; raises `Refused` when the name is taken."""
    if conn.scalar(select(schema.network.c.name).where(schema.network.c.name == name)) is not None:
        raise Refusal(f"there is a network named {name} already", "Choose another name.")
    conn.execute(insert(schema.network).values(name=name, created_at=now))
    for state in FIRST_STATES:
        add_version(conn, rt, name, state, now)


def add_member(
    conn: Connection, rt: Runtime, network: str, node_id: str, address: str, resource_class: ResourceClass, now: float
) -> list[Push]:
    """Give a node the IP `address` in the network and deliver what follows from it; raises `Refused`."""
    _check_network(conn, network)
    values: dict[str, Any] = {"network": network, "node_id": node_id, "address": ip_address(address)}
    _check_member(conn, network, node_id, values["address"])
    values |= {"resource_class": ResourceClass(resource_class).value, "slot": take_slot(conn)}
    conn.execute(insert(schema.member).values(**values))
    return reconcile(conn, rt, network, now)


def remove_member(conn: Connection, rt: Runtime, network: str, node_id: str, actor: str, now: float) -> list[Push]:
    """Take a node out of the network: it gets an empty bundle, its peers lose their associations with it."""
    mine = (schema.member.c.network == network) & (schema.member.c.node_id == node_id)
    slot = conn.scalar(select(schema.member.c.slot).where(mine))
    if slot is None:
        raise Refusal(f"the node is no member of {network}", "List members with `network list`.")
    pushes = expel(conn, rt, network, node_id, now)
    epochs = schema.member_epoch
    conn.execute(delete(epochs).where((epochs.c.network == network) & (epochs.c.node_id == node_id)))
    stragglers.forget(conn, network, slot)
    conn.execute(delete(schema.member).where(mine))
    audit.append(conn, "member-removed", actor, node_id, {"network": network}, now)
    return pushes


def rotate_versions(conn: Connection, rt: Runtime, network: str, actor: str, now: float) -> list[Push]:
    """A new latest version; the others move down by one and the outdated one is destroyed."""
    _check_network(conn, network)
    numbers = move_down(conn, rt, network, now)
    states = {state.value: number for state, number in numbers.items()}
    audit.append(conn, "keys-rotated", actor, None, {"network": network, **states}, now)
    return reconcile(conn, rt, network, now)


def stage_version(conn: Connection, rt: Runtime, network: str, actor: str, now: float) -> int:
    """A version made ahead, which the next rotation takes into force; gives its number. Raises `Refused`."""
    _check_network(conn, network)
    number = stage(conn, rt, network, now)
    audit.append(conn, "key-staged", actor, None, {"network": network, "version": number}, now)
    return number


def set_floor(conn: Connection, rt: Runtime, network: str, floor: int, actor: str, now: float) -> list[Push]:
    """Raise the compromise floor: what lies below is destroyed, and members under it lose their keys at once."""
    _check_network(conn, network)
    raise_floor(conn, network, floor, actor, now)
    return reconcile(conn, rt, network, now)


def look_up(conn: Connection, network: str, address: str) -> str | None:
    """The id of the node at a virtual address of the network: the mapping service's question."""
    at = (schema.member.c.network == network) & (schema.member.c.address == ip_address(address))
    return conn.scalar(select(schema.member.c.node_id).where(at))


def _check_network(conn: Connection, network: str) -> None:
    if conn.scalar(select(schema.network.c.name).where(schema.network.c.name == network)) is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"no network named {network}", "List networks with `network list`.")


def take_slot(conn: Connection) -> int:
    """A number that no membership had before: what its source's SPIs are made of."""
    mine = schema.meta.c.key == "next_slot"
    known = conn.scalar(select(schema.meta.c.value).where(mine))
    slot = 1 if known is None else int(known)
    if slot >= 1 << SLOT_BITS:
        raise Refusal("all memberships that this authority can number were given out", "Set up another authority.")
    if known is None:
        conn.execute(insert(schema.meta).values(key="next_slot", value="2"))
    else:
        conn.execute(update(schema.meta).where(mine).values(value=str(slot + 1)))
    return slot


def ip_address(text: str) -> str:
    """An IP address in its usual form; raises `Refused`."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Refused(
            ErrorCode.MALFORMED, 422, "a member's address must be an IPv4 or IPv6 address", "Give it like 10.77.0.5."
        ) from None


def _check_member(conn: Connection, network: str, node_id: str, address: str) -> None:
    node = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).first()
    if node is None or node.state == NodeState.RETIRED:
        raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such node", "List nodes with `node list`.")
    query = select(schema.member, schema.node.c.lab).join(schema.node, schema.node.c.id == schema.member.c.node_id)
    for row in conn.execute(query.where(schema.member.c.network == network)):
        if row.node_id == node_id:
            raise Refusal(f"{node.name} is a member of {network} already", "Nothing is left to do.")
        if row.address == address:
            raise Refusal(f"{address} is taken in {network}", "Choose another address.")
        if row.lab != node.lab:
            raise Refusal(
                f"{network} cannot hold lab nodes together with others",
                "Give lab nodes a network of their own.",
            )
