"""What a rotation costs the authority: derivations, seals, and whole rotations of networks of many nodes.

The fleet is simulated, the authority is not: every delivery is derived, sealed, signed and written to SQLite on disk,
and every node acknowledges each of its own, in the order in which they were made. Times are CPU seconds of this
process.

    python benchmarks/bench_rotation.py [--mesh 10 100 1000] [--spokes 10 100 1000 10000] [--outage H] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import create_engine, event, func, insert, select

sys.path.insert(0, str(Path(__file__).parent.parent))

from authority import challenges
from authority.keys import create_network, reconcile, rotations, tick
from authority.keys.sealing import seal_to
from authority.runtime import Push
from authority.store import schema
from authority.trust import Policy
from authority.trust.policy import DeliveryRules, RotationRules
from protocol.key_schedule import PairContext, PairKeys
from protocol.levels import ResourceClass
from protocol.messages import DeliveryAck, DeliveryEvent
from tests.authority.world import World

DRAIN_S = 5.0
INSTALLED = DeliveryAck(installed=True, sinks=["xfrm"])
CHUNK = 500


def per_second(work: Callable[[], object], seconds: float = 1.0) -> float:
    """How often `work` is done in a second of CPU."""
    done, begin = 0, time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        for _ in range(20):
            work()
        done += 20
    return done / spent


def primitives() -> dict[str, float]:
    """Pair keys derived and bundles sealed in a second."""
    keys = PairKeys(bytes(32))
    pair = PairContext("core", 3, "a" * 64, "b" * 64, ResourceClass.NORMAL, 7, 1, bytes(16))
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    bundle = bytes(64 * 250)
    return {
        "derivations_per_s": per_second(lambda: keys.key(pair)),
        "seals_of_64_keys_per_s": per_second(lambda: seal_to(public, b"info", bundle)),
    }


class Fleet:
    """A network of `core` in a database file; `hub` is of class remediation, everybody else sends to it alone."""

    def __init__(self, folder: Path, nodes: int, *, hub: bool, outage_s: float) -> None:
        self.engine = create_engine(f"sqlite:///{folder / 'authority.db'}")
        event.listen(self.engine, "connect", lambda raw, _: raw.execute("PRAGMA journal_mode=WAL"))
        schema.metadata.create_all(self.engine)
        self.conn = self.engine.connect()
        self.file = folder / "authority.db"
        policy = Policy(
            version="bench", rotation=RotationRules(drain_s=DRAIN_S), delivery=DeliveryRules(outage_s=outage_s)
        )
        self.world = World(self.conn, policy)
        create_network(self.conn, self.world.rt, "core", self.world.clock)
        for index in range(1, nodes + 1):
            self._add(index, hub=hub)
        self.conn.commit()

    def _add(self, index: int, *, hub: bool) -> None:
        node_id = self.world.node(f"n{index}", state="active", score=900 if not hub or index == 1 else 300)
        kind = ResourceClass.REMEDIATION if hub and index == 1 else ResourceClass.NORMAL
        values = {"network": "core", "node_id": node_id, "address": f"fd00::{index:x}", "slot": index}
        self.conn.execute(insert(schema.member).values(**values, resource_class=kind.value))

    def settle(self) -> None:
        """Everybody has keys and nothing is under way."""
        self._run(lambda: reconcile(self.conn, self.world.rt, "core", self.world.clock))
        self.wait()

    def rotate(self) -> dict[str, Any]:
        """One rotation of every member."""
        rows = self._rows()
        order = lambda: rotations.start(self.conn, self.world.rt, "core", None, "bench", self.world.clock)  # noqa: E731
        done = self._run(order)
        retired = self.wait()
        total = {key: done[key] + retired[key] for key in done}
        return total | {"rows": self._rows() - rows, "database_mb": round(self.file.stat().st_size / 1e6, 1)}

    def wait(self) -> dict[str, float]:
        """Let the old keys drain and go."""
        self.world.clock += DRAIN_S
        return self._run(lambda: tick(self.conn, self.world.rt, self.world.clock))

    def _run(self, work: Callable[[], list[Push]]) -> dict[str, float]:
        begin = time.process_time()
        found = {"deliveries": 0, "megabytes": 0.0}
        pushes = work()
        while pushes:
            events = [(node, push) for node, push in pushes if isinstance(push, DeliveryEvent)]
            found["deliveries"] += len(events)
            found["megabytes"] += sum(len(each.envelope) for _, each in events) / 1e6
            pushes = [more for node, each in events for more in self._acknowledge(node, each.number)]
            self.conn.commit()
        return found | {"cpu_s": time.process_time() - begin}

    def _acknowledge(self, node_id: str, number: int) -> list[Push]:
        return challenges.acknowledge(self.conn, self.world.rt, node_id, number, INSTALLED, self.world.clock)

    def _rows(self) -> int:
        return self.conn.scalar(select(func.count()).select_from(schema.delivery)) or 0


def measured(nodes: int, *, hub: bool, outage_s: float) -> dict[str, Any]:
    """A rotation of a network of so many nodes."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder), nodes, hub=hub, outage_s=outage_s)
        fleet.settle()
        found = fleet.rotate()
        fleet.conn.close()
        fleet.engine.dispose()
    associations = (nodes - 1) * (2 if hub else nodes)
    rounded = {key: round(value, 2) for key, value in found.items()}
    return {
        "shape": "hub" if hub else "mesh",
        "nodes": nodes,
        "pairs": associations,
        "outage_h": outage_s / 3600,
    } | rounded


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line of JSON for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mesh", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--spokes", type=int, nargs="*", default=[10, 100, 1000, 10000])
    parser.add_argument("--outage", type=float, default=DeliveryRules().outage_s / 3600, help="hours held ahead for")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    found: list[dict[str, Any]] = [primitives()]
    print(json.dumps(found[0]), flush=True)
    for hub, sizes in ((False, chosen.mesh), (True, chosen.spokes)):
        for size in sizes:
            found.append(measured(size, hub=hub, outage_s=3600 * chosen.outage))
            print(json.dumps(found[-1]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
