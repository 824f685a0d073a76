"""Alerts through a receiver that is down for a third of the time: what is lost, what comes twice, what keys feel of it.

The outbox and the pump are the authority's, on SQLite on disk; the receiver is a process of its own that is killed in
whatever it does and started again later. It notes an alert on its side before it answers, so that a kill between the
two makes one alert come twice: at least once. Keys are rotated in a network of two nodes meanwhile, through the same
writer, and before without any alert; the ratio of the two is of one run.

    python benchmarks/bench_alerts.py [--alerts 100000] [--seed 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress
from sqlalchemy import Connection, func, insert, select

sys.path.insert(0, str(Path(__file__).parent.parent))

from authority import challenges
from authority.alerts import Origin, raise_alert
from authority.alerts.destinations import Destination
from authority.alerts.ledger import entry
from authority.alerts.pump import AlertPump
from authority.alerts.webhook import WebhookSink
from authority.keys import create_network, reconcile, rotations, tick
from authority.runtime import Push
from authority.service import BEAT_S
from authority.store import Store, schema
from authority.trust import Policy
from authority.trust.policy import RotationRules
from protocol.levels import ResourceClass
from protocol.messages import DeliveryAck, DeliveryEvent
from simulators.lab.ports import free_port
from tests.authority.world import World

NAME = "siem"
DRAIN_S = 5.0
UP_S, DOWN_S = 8.0, 4.0
"""Mean lengths of what the receiver is there and away."""

BATCH = 500
SAMPLES = 200
PAUSE_S = 0.5
PATIENCE_S = 3600.0
INSTALLED = DeliveryAck(installed=True, sinks=["xfrm"])


class Receiver:
    """A receiver that comes and goes until told to stay; `down_s` and `kills` say how it fared."""

    def __init__(self, port: int, file: Path, chance: random.Random) -> None:
        self._command = [sys.executable, str(Path(__file__).with_name("alert_receiver.py")), str(port), str(file)]
        self._chance = chance
        self._end, self.up = threading.Event(), threading.Event()
        self.down_s, self.kills = 0.0, 0
        self._thread = threading.Thread(target=self._come_and_go, daemon=True)

    def start(self) -> None:
        """Come for the first time, and have gone and come again until `end`."""
        self._thread.start()
        self.up.wait()

    def end(self) -> None:
        """Gone for good."""
        self._end.set()
        self._thread.join()

    def _come_and_go(self) -> None:
        gone_at = time.monotonic()
        while not self._end.is_set():
            with subprocess.Popen(self._command, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.readline()
                self.up.set()
                self.down_s += time.monotonic() - gone_at
                self._end.wait(self._chance.uniform(0.5, 1.5) * UP_S)
                process.kill()
            gone_at = time.monotonic()
            self.up.clear()
            self.kills += 1
            self._end.wait(self._chance.uniform(0.5, 1.5) * DOWN_S)


class Keys:
    """A network of two nodes on the store whose alerts are pumped."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.world = store.run(self._made)
        self._settle(store.run(lambda conn: reconcile(conn, self.world.rt, "core", self.world.clock)))

    def _made(self, conn: Connection) -> World:
        world = World(conn, Policy(version="bench", rotation=RotationRules(drain_s=DRAIN_S)))
        create_network(conn, world.rt, "core", world.clock)
        for slot in (1, 2):
            node_id = world.node(f"n{slot}", state="active", score=900)
            values = {"network": "core", "node_id": node_id, "address": f"fd00::{slot:x}", "slot": slot}
            conn.execute(insert(schema.member).values(**values, resource_class=ResourceClass.NORMAL.value))
        return world

    def latency_ms(self, after_s: float) -> float:
        """From the order, given after a while, until the new keys are sealed and durable."""
        time.sleep(after_s)
        clock, rt = self.world.clock, self.world.rt
        begun = time.perf_counter()
        pushes = self.store.run(lambda conn: rotations.start(conn, rt, "core", None, "bench", clock))
        took = time.perf_counter() - begun
        self._settle(pushes)
        return 1000 * took

    def _settle(self, pushes: list[Push]) -> None:
        self._answer(pushes)
        self.world.clock += DRAIN_S
        self._answer(self.store.run(lambda conn: tick(conn, self.world.rt, self.world.clock)))

    def _answer(self, pushes: list[Push]) -> None:
        while events := [(node, event) for node, event in pushes if isinstance(event, DeliveryEvent)]:
            pushes = self.store.run(lambda conn, told=events: self._acknowledged(conn, told))  # type: ignore[misc]

    def _acknowledged(self, conn: Connection, events: list[tuple[str, DeliveryEvent]]) -> list[Push]:
        rt, clock = self.world.rt, self.world.clock
        found = [challenges.acknowledge(conn, rt, node, each.number, INSTALLED, clock) for node, each in events]
        return [push for pushes in found for push in pushes]


def raise_all(store: Store, count: int) -> None:
    """So many alerts, each of its own."""
    for begin in range(0, count, BATCH):

        def some(conn: Connection, begin: int = begin) -> None:
            for number in range(begin, min(begin + BATCH, count)):
                raise_alert(conn, "error", "tier-low", None, f"alert {number}", {"score": number}, time.time())

        store.run(some)


def left(store: Store) -> int:
    """How many have not been taken yet."""
    waiting = select(func.count()).where(schema.alert.c.delivered_at.is_(None))
    return store.run(lambda conn: int(conn.scalar(waiting) or 0))


def spread(found: Sequence[float]) -> dict[str, float]:
    """Number, median and 99th percentile."""
    if len(found) < 2:
        return {"count": len(found)}
    cuts = statistics.quantiles(found, n=100)
    return {"count": len(found), "p50_ms": round(cuts[49], 2), "p99_ms": round(cuts[98], 2)}


def measured(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """The whole run."""
    chance = random.Random(seed)
    secret, taken, port = folder / "secret", folder / "taken", free_port()
    descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, b"whsec_" + base64.b64encode(os.urandom(32)))
    os.close(descriptor)
    store = Store(f"sqlite:///{folder / 'authority.db'}")
    keys = Keys(store)
    quiet = [keys.latency_ms(PAUSE_S) for _ in range(SAMPLES)]
    raise_all(store, count)
    sink = WebhookSink(f"http://127.0.0.1:{port}/", secret)
    pump = AlertPump(store.run, [Destination(NAME, sink, syslog=False)], Origin("ta1"), time.time, pause_s=BEAT_S)
    receiver, latency = Receiver(port, taken, chance), {True: [], False: []}
    begun, cpu = time.monotonic(), time.process_time()
    receiver.start()
    pump.start()
    with Progress() as progress:
        task = progress.add_task("alerts", total=count)
        while (waiting := left(store)) and time.monotonic() - begun < PATIENCE_S:
            progress.update(task, completed=count - waiting)
            up = receiver.up.is_set()
            latency[up].append(keys.latency_ms(PAUSE_S))
    took, away = time.monotonic() - begun, receiver.down_s
    spent = time.process_time() - cpu
    pump.stop()
    receiver.end()
    seen = Counter(taken.read_text().split())
    row = store.run(lambda conn: entry(conn, NAME))
    store.close()
    busy = spread([*latency[True], *latency[False]])
    return {
        "alerts": count,
        "seconds": round(took, 1),
        "cpu_s": round(spent, 1),
        "share_down": round(away / took, 3),
        "kills": receiver.kills,
        "lost": count - sum(1 for number in range(1, count + 1) if f"alert-{number}" in seen),
        "came_twice": sum(times - 1 for times in seen.values()),
        "refused": row.failed if row is not None else 0,
        "given_up": row.dropped if row is not None else 0,
        "keys_quiet": spread(quiet),
        "keys_receiver_up": spread(latency[True]),
        "keys_receiver_down": spread(latency[False]),
        "ratio_p50": round(busy["p50_ms"] / spread(quiet)["p50_ms"], 2) if "p50_ms" in busy else None,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), chosen.alerts, chosen.seed)
    print(json.dumps(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
