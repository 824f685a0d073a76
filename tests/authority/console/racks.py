"""A site with racks: a week in the life of a fleet, by the authority's own code and a clock that is moved."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from msgspec.structs import replace
from sqlalchemy import Connection, select, update

from authority import audit, challenges, orders, policies, references, scheduler, standing
from authority.alerts import acknowledge, raise_alert
from authority.keys import networks, rotations
from authority.planes.hub import Connection as Attached
from authority.roles import Scope
from authority.runtime import Push
from authority.store import schema
from authority.trust import PresentationKind
from authority.trust.policy import ApprovalRules
from protocol.levels import ResourceClass
from protocol.messages import DeliveryAck
from tests.authority.console.house import House, add_node, enrol

PAGES = (
    "/console",
    "/console/nodes/rack-006",
    "/console/alerts",
    "/console/alerts/1",
    "/console/approvals",
    "/console/networks",
    "/console/networks/telemetry",
    "/console/policy",
    "/console/audit",
    "/console/audit/3",
)
NOW = 1_795_000_000.0
DAYS, ASKED_EVERY_S, ROTATED_S, OPEN_S = 6, 8 * 3600.0, 600.0, 8 * 3600.0
PEOPLE = ("shift-a", "shift-b", "weekend")
DEVICES = json.dumps(
    [
        {"kind": "camera", "driver": "opencv", "transport": "usb", "port": "1-2", "vendor_id": "046d"},
        {"kind": "fingerprint", "driver": "nb1010", "transport": "serial", "port": "1-4"},
        {"kind": "enclave", "driver": "tpm2", "transport": "spi", "port": "tpmrm0"},
    ]
)


@contextmanager
def furnished(house: House, racks: int, days: int = DAYS) -> Iterator[None]:
    """`racks` nodes, 12 or more, after `days`: a few badly attended, some that fail, one whose machine changed."""
    house.rt.policy = replace(house.rt.policy, approvals=ApprovalRules(persons=2))
    names = [f"rack-{number:03}" for number in range(1, racks + 1)]
    seed, end = random.Random(3), house.moved.now
    house.moved.now -= days * 86400
    house.token("day-desk", [Scope.READ, Scope.OPERATE], 30 * 86400)
    house.do(lambda conn: policies.note(conn, house.rt.policy, "authority", house.rt.now()))
    ids = house.do(lambda conn: [_join(conn, house, name) for name in names])
    while house.moved.now < end - 3600:
        for at, node_id in enumerate(ids):
            house.moved.now += ASKED_EVERY_S / len(ids)
            kind = _outcome(at, house.moved.now > end - 86400, seed)
            house.do(lambda conn, node_id=node_id, kind=kind: _answered(conn, house, node_id, kind, seed))
    house.do(lambda conn: _review(conn, house))
    cover = "a cover was found open"
    house.do(lambda conn: standing.isolate(conn, house.rt, ids[9], "night-desk", cover, house.rt.now() - 1200))
    house.do(lambda conn: _networks(conn, house, ids))
    house.moved.now += ROTATED_S
    house.do(lambda conn: _rest(conn, house, ids))
    with ExitStack() as stack:
        for node_id in ids[:-1]:
            stack.enter_context(house.hub.attached(Attached(node_id, _unsent)))
        yield


async def _unsent(frame: str) -> None:
    """Nobody reads what these nodes are told."""


def _join(conn: Connection, house: House, name: str) -> str:
    node_id = add_node(conn, house.rt, name, state="pending", devices=DEVICES)
    for who in PEOPLE[:2]:
        enrol(conn, house.rt, node_id, who)
    audit.append(conn, "joined", "authority", node_id, {"name": name}, house.rt.now())
    return node_id


def _outcome(at: int, today: bool, seed: random.Random) -> PresentationKind:
    if at % 12 == 5 and today:
        return PresentationKind.FAILED
    if at % 7 == 3 and seed.random() < 0.4:
        return PresentationKind.MISSED
    return PresentationKind.MISSED if seed.random() < 0.02 else PresentationKind.ACCEPTED


def _answered(conn: Connection, house: House, node_id: str, kind: PresentationKind, seed: random.Random) -> list[Push]:
    now = house.rt.now()
    pushes = scheduler.challenge_now(conn, house.rt, node_id, "scheduled", now - 90)
    challenge = pushes[0][1].challenge_id
    marks = (seed.randint(780, 990), seed.randint(820, 990)) if kind is PresentationKind.ACCEPTED else (None, None)
    row = schema.challenge
    conn.execute(update(row).where(row.c.id == challenge).values(state=kind.value, answered_at=now))
    return standing.record_presentation(conn, house.rt, node_id, challenge, kind, *marks, now).pushes


def _review(conn: Connection, house: House) -> None:
    """All but the newest alerts have been looked at."""
    old = conn.scalars(select(schema.alert.c.id).where(schema.alert.c.at < house.rt.now() - OPEN_S))
    for alert_id in [*old]:
        acknowledge(conn, alert_id, "day-desk", "the shift was told; nothing amiss at the rack", house.rt.now())


def _networks(conn: Connection, house: House, ids: list[str]) -> None:
    """One whose members have all their keys, and one of which half have answered a rotation."""
    for name, members in (("control", ids[:8]), ("telemetry", ids[4:16])):
        networks.create_network(conn, house.rt, name, house.rt.now())
        for at, node_id in enumerate(members):
            address = f"10.{len(name)}.0.{at + 1}"
            critical = ResourceClass.CRITICAL if at == 0 else ResourceClass.NORMAL
            networks.add_member(conn, house.rt, name, node_id, address, critical, house.rt.now())
        _install(conn, house, name, members)
    rotations.start(conn, house.rt, "telemetry", None, "night-desk", house.rt.now() + ROTATED_S - 20)
    _install(conn, house, "telemetry", ids[4:11])


def _install(conn: Connection, house: House, network: str, members: list[str]) -> None:
    """The nodes answer until nothing waits for them."""
    row = schema.delivery
    owed = select(row.c.node_id, row.c.number).where(
        (row.c.network == network) & row.c.acked_at.is_(None) & row.c.ended_at.is_(None) & row.c.node_id.in_(members)
    )
    while found := conn.execute(owed).all():
        for node_id, number in found:
            ack = DeliveryAck(installed=True, sinks=["linux"])
            challenges.acknowledge(conn, house.rt, node_id, number, ack, house.rt.now())


def _changed(conn: Connection, node_id: str, now: float) -> None:
    """A machine that started with other firmware than it held before."""
    row = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).first()
    before = {str(number): hashlib.sha256(bytes([number])).hexdigest() for number in range(8)}
    references.learn(conn, node_id, references.Kind.PCRS, before, now - DAYS * 86400)
    after = before | {each: hashlib.sha256(each.encode()).hexdigest() for each in ("0", "2")}
    references.note_candidate(conn, row, references.Kind.PCRS, after, now - 7200)


def _rest(conn: Connection, house: House, ids: list[str]) -> None:
    """What waits for somebody now."""
    rt, now = house.rt, house.rt.now()
    for at, node_id in enumerate(ids):
        seen = now - (2400 if node_id == ids[-1] else 3 + at % 9)
        row = schema.node
        conn.execute(
            update(row).where(row.c.id == node_id).values(last_seen_at=seen, last_attested_at=now - 40 - 31 * at)
        )
    enrol(conn, rt, ids[2], PEOPLE[2], "pending", created_at=now - 5400)
    _changed(conn, ids[6], now)
    raise_alert(conn, "notice", "certificate-renewed", ids[1], "rack-002: a new certificate", {}, now - 600)
    scheduler.challenge_now(conn, rt, ids[0], "on-demand", now - 20)
    ban = orders.Order(orders.Action.NODE_BAN, "rack-006", {"node_id": ids[5]}, "two strangers were refused today")
    orders.submit(conn, rt, ban, "day-desk", now - 900, None)
