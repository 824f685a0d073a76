"""What the authority's beat and its most frequent questions cost by the size of a fleet, with and without the indices.

Rows are put into an SQLite file in bulk; what is timed are the authority's own functions. Median CPU milliseconds.

    python benchmarks/bench_growth.py [--nodes 1000 10000 100000] [--past 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert, select, text

sys.path.insert(0, str(Path(__file__).parent.parent))

from authority import joining, releases, scheduler, standing
from authority.store import Store, schema
from authority.store.schema_indices import GROWING
from authority.trust import default_policy
from tests.authority.world import World

ROUNDS = 15
CHUNK = 5000
FAR_S = 1e9


class Site:
    """A fleet in which nothing is due, with a past of so many challenges a node, ten hours apart."""

    def __init__(self, conn: Connection, nodes: int, past: int) -> None:
        self.world = World(conn, default_policy())
        self.ids = [f"{number:064x}" for number in range(1, nodes + 1)]
        self._fill(schema.node, (self._node(number, each) for number, each in enumerate(self.ids)))
        self._fill(schema.schedule, (self._schedule(each) for each in self.ids))
        self.world.enrol(self.ids[0])
        for number in range(past):
            at = self.world.clock - 36_000.0 * (past - number)
            self._fill(schema.challenge, (self._challenge(each, number, at) for each in self.ids))
            self._fill(schema.presentation, (self._presentation(each, number, at) for each in self.ids))
        self.profile = conn.execute(select(schema.profile)).one()
        self._settle()

    def _settle(self) -> None:
        """What a refresh makes of one node stands at all, for all have the same past; no pass is under way."""
        conn, world = self.world.conn, self.world
        world.clock += 1
        standing.refresh(conn, world.rt, self.ids[0], world.clock)
        found = conn.execute(select(schema.node).where(schema.node.c.id == self.ids[0])).one()
        values = {name: getattr(found, name) for name in ("state", "score", "tier", "explanation", "reason")}
        conn.execute(schema.node.update().values(**values))
        scheduler.sweep(conn, world.rt, world.clock, first=True)

    def _fill(self, table: Table, rows: Iterator[dict[str, Any]]) -> None:
        waiting: list[dict[str, Any]] = []
        for row in rows:
            waiting.append(row)
            if len(waiting) == CHUNK:
                self.world.conn.execute(insert(table), waiting)
                waiting = []
        if waiting:
            self.world.conn.execute(insert(table), waiting)

    def _node(self, number: int, node_id: str) -> dict[str, Any]:
        nothing = {"ek_public": bytes(300), "ak_public": bytes(120), "delivery_public": bytes(120)}
        state = {"state": "active", "lab": False, "ownership": "taken", "score": 0, "tier": "low"}
        known = {"certificate_sha256": node_id[::-1], "certificate_not_after": FAR_S * 10, "joined_at": 0.0}
        return {"id": node_id, "name": f"n{number}", "reference_pcrs": "{}", "devices": "[]"} | nothing | state | known

    def _schedule(self, node_id: str) -> dict[str, Any]:
        later = self.world.clock + FAR_S
        return {"node_id": node_id, "epoch": 0, "next_challenge_at": later, "next_attest_at": later}

    def _challenge(self, node_id: str, number: int, at: float) -> dict[str, Any]:
        times = {"summoned_at": at, "expires_at": at + 900, "activated_at": at, "answered_at": at}
        name = {
            "id": _challenge_id(node_id, number),
            "node_id": node_id,
            "epoch": number + 1,
            "record_id": node_id[32:],
        }
        return name | {"state": "accepted", "reason": "scheduled"} | times

    def _presentation(self, node_id: str, number: int, at: float) -> dict[str, Any]:
        what = {"kind": "accepted", "speed": 950, "quality": 950, "weak": False, "models": "[]", "modalities": "[]"}
        return {"node_id": node_id, "challenge_id": _challenge_id(node_id, number), "at": at, "shared": False} | what

    def works(self) -> dict[str, Callable[[], object]]:
        """What is timed; no pass is under way at first."""
        self.world.conn.execute(schema.meta.update().where(schema.meta.c.key == "refreshed-to").values(value=""))
        conn, world = self.world.conn, self.world
        last = self.ids[-1]
        return {
            "node of a certificate": lambda: joining.node_of_certificate(conn, last[::-1], world.clock),
            "rate of releases": lambda: releases.check_rate(conn, world.rt, self.profile, world.clock),
            "attestation entered": lambda: standing.record_attestation(
                conn, world.rt, last, ok=True, reason="", now=world.clock
            ),
            "standing refreshed": lambda: standing.refresh(conn, world.rt, last, world.clock),
            "sweep between passes": self._sweep,
            "sweep within a pass": self._sweep_within,
        }

    def _sweep(self) -> None:
        self.world.clock += 0.5
        scheduler.sweep(self.world.conn, self.world.rt, self.world.clock)

    def _sweep_within(self) -> None:
        """Another pass is due each time."""
        self.world.clock += self.world.policy.scheduler.refresh_s
        conn = self.world.conn
        conn.execute(schema.meta.update().where(schema.meta.c.key == "heartbeat").values(value=repr(self.world.clock)))
        scheduler.sweep(conn, self.world.rt, self.world.clock)


def _challenge_id(node_id: str, number: int) -> str:
    return f"{256 * int(node_id, 16) + number:032x}"


def cpu_ms(work: Callable[[], object]) -> float:
    """Median CPU milliseconds of `work`."""
    spent = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return round(1000 * statistics.median(spent), 3)


def measured(nodes: int, past: int) -> dict[str, Any]:
    """All figures of one fleet, and those that the indices change."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'authority.db'}")
        try:
            return {"nodes": nodes, "past": past} | store.run(lambda conn: _timed(conn, nodes, past))
        finally:
            store.close()


def _timed(conn: Connection, nodes: int, past: int) -> dict[str, Any]:
    site = Site(conn, nodes, past)
    found = {"cpu_ms": {name: cpu_ms(work) for name, work in site.works().items()}}
    for name in GROWING:
        conn.execute(text(f"DROP INDEX {name}"))
    return found | {"cpu_ms_without_indices": {name: cpu_ms(work) for name, work in site.works().items()}}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line of JSON for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--past", type=int, default=5)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    found = []
    for nodes in chosen.nodes:
        found.append(measured(nodes, chosen.past))
        print(json.dumps(found[-1]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
