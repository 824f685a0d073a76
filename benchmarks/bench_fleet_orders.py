"""CPU of what is ordered for many nodes at once, SQLite in memory: `python benchmarks/bench_fleet_orders.py [NODES]`.

Prints CPU seconds: the sweep's look for silent nodes, a page of the roster, a share of the nodes chosen for a reference
value, two hundred PINs hashed. What is carried out in passes: `bench_passes.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, insert

sys.path.insert(0, str(Path(__file__).parent.parent))

from authority import references, rosters, stale
from authority.enrolling import draw_ticket
from authority.references import Kind
from authority.rollouts import Wave, choose
from authority.store import schema
from authority.trust import default_policy
from authority.trust.staleness import StaleRules
from authority.views import NodeFilter
from tests.authority.world import World, open_world

DAY = 86400.0
RULES = StaleRules(alert_s=10 * DAY, retire_s=30 * DAY)


def main(nodes: int) -> None:
    """Measure each for a fleet of so many nodes."""
    with open_world(msgspec.structs.replace(default_policy(), stale=RULES)) as world:
        fill(world.conn, world, nodes)
        conn, rt, now = world.conn, world.rt, world.clock
        measured(f"a look for silent nodes among {nodes}", lambda: stale.survey(conn, RULES, now))
        measured("a page of 1,000 of the roster", lambda: rosters.node_roster(conn, NodeFilter(), None, "", 1000))
        measured(f"5 of 100 of {nodes} nodes chosen", lambda: choose(conn, canary(world), Wave(percent=5)))
        measured("200 PINs hashed", lambda: [draw_ticket(rt) for _ in range(200)])


def measured(what: str, work: Callable[[], Any]) -> None:
    """Print the CPU seconds of `work`."""
    begun = time.process_time()
    work()
    print(f"{what}: {time.process_time() - begun:.3f} s")


def canary(world: World) -> int:
    """A value that its node has shown."""
    references.learn(world.conn, "0".rjust(64, "0"), Kind.PCRS, {"0": "11" * 32}, world.clock)
    return int(references.listing(world.conn)[0]["id"])


def fill(conn: Connection, world: World, nodes: int) -> None:
    """Nodes with one active profile of the same administrator each."""
    keys = {"ek_public": b"", "ak_public": b"", "delivery_public": b"", "reference_pcrs": "{}", "devices": "[]"}
    place = {"certificate_sha256": "", "certificate_not_after": 0.0, "joined_at": 0.0, "state": "active", "lab": False}
    ids = [str(number).rjust(64, "0") for number in range(nodes)]
    conn.execute(insert(schema.administrator).values(name="ada", created_at=0.0))
    conn.execute(
        insert(schema.node),
        [{"id": each, "name": f"n{each[-8:]}", "last_seen_at": world.clock, **keys, **place} for each in ids],
    )
    row = {"admin": "ada", "state": "active", "nonce": b"", "release_share": b"", "created_at": 0.0, "expires_at": 0.0}
    conn.execute(
        insert(schema.profile),
        [{"record_id": each[-32:], "enrolment_id": each, "node_id": each, **row} for each in ids],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="CPU of what is ordered for many nodes at once.")
    parser.add_argument("nodes", type=int, nargs="?", default=1000, metavar="NODES")
    main(parser.parse_args().nodes)
