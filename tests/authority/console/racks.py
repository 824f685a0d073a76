"""A site with racks: a week in the life of a fleet, by the authority's own code and a clock that is moved."""

from __future__ import annotations

import json
import random

from sqlalchemy import Connection

from authority import audit, policies, references, scheduler, standing
from authority.alerts import raise_alert
from authority.keys import networks
from authority.runtime import Push
from authority.trust import PresentationKind
from protocol.levels import ResourceClass
from tests.authority.console.house import House, add_node, enrol

DAYS, ASKED_EVERY_S = 6, 8 * 3600.0
PEOPLE = ("shift-a", "shift-b", "weekend")
DEVICES = json.dumps(
    [
        {"kind": "camera", "driver": "opencv", "transport": "usb", "port": "1-2", "vendor_id": "046d"},
        {"kind": "fingerprint", "driver": "nb1010", "transport": "serial", "port": "1-4"},
        {"kind": "enclave", "driver": "tpm2", "transport": "spi", "port": "tpmrm0"},
    ]
)


def furnish(house: House, racks: int = 24) -> None:
    """`racks` nodes in two networks; a few are badly attended, one fails, one machine changed."""
    names = [f"rack-{number:03}" for number in range(1, racks + 1)]
    seed, end = random.Random(3), house.moved.now
    house.moved.now -= DAYS * 86400
    ids = house.do(lambda conn: [_join(conn, house, name) for name in names])
    while house.moved.now < end - 3600:
        for at, node_id in enumerate(ids):
            house.moved.now += ASKED_EVERY_S / len(ids)
            kind = _outcome(at, house.moved.now > end - 86400, seed)
            house.do(lambda conn, node_id=node_id, kind=kind: _answered(conn, house, node_id, kind, seed))
    house.do(lambda conn: _networks(conn, house, ids))
    house.do(lambda conn: _rest(conn, house, ids))


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
    state = "accepted" if kind is PresentationKind.ACCEPTED else kind.value
    conn.exec_driver_sql("update challenge set state = ?, answered_at = ? where id = ?", (state, now, challenge))
    seen = {"last_seen_at": now - seed.randint(5, 300), "last_attested_at": now - seed.randint(60, 900)}
    conn.exec_driver_sql(
        "update node set last_seen_at = ?, last_attested_at = ? where id = ?", (*seen.values(), node_id)
    )
    return standing.record_presentation(conn, house.rt, node_id, challenge, kind, *marks, now).pushes


def _networks(conn: Connection, house: House, ids: list[str]) -> None:
    for name, members in (("control", ids[:8]), ("telemetry", ids[4:16])):
        networks.create_network(conn, house.rt, name, house.rt.now())
        for at, node_id in enumerate(members):
            address = f"10.{len(name)}.0.{at + 1}"
            critical = ResourceClass.CRITICAL if at == 0 else ResourceClass.NORMAL
            networks.add_member(conn, house.rt, name, node_id, address, critical, house.rt.now())


def _rest(conn: Connection, house: House, ids: list[str]) -> None:
    rt, now = house.rt, house.rt.now()
    enrol(conn, rt, ids[2], PEOPLE[2], "pending")
    standing.isolate(conn, rt, ids[9], "night-desk", "a cover was found open", now - 1800)
    row = conn.exec_driver_sql("select * from node where id = ?", (ids[6],)).first()
    references.note_candidate(conn, row, references.Kind.PCRS, {"0": "3f" * 32, "7": "ab" * 32}, now - 7200)
    raise_alert(conn, "notice", "certificate-renewed", ids[1], "rack-002: a new certificate", {}, now - 600)
    policies.note(conn, rt.policy, "authority", now)
