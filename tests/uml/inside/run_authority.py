"""Rotations by the authority's code under traffic; arguments: folder, nodes, rotations, packets a second and pair."""

from __future__ import annotations

import statistics
import sys
import time
from collections import deque
from importlib import import_module
from pathlib import Path

from agent.sinks.xfrm import XfrmSink, read_counters
from authority import challenges
from authority.keys import add_member, create_network, reissue, tick
from authority.runtime import Push
from authority.trust import Policy
from authority.trust.policy import DeliveryRules, RotationRules
from protocol.delivery import Direction, KeyBundle
from protocol.levels import ResourceClass
from protocol.messages import DeliveryAck, DeliveryEvent
from tests.authority.world import World, open_world
from tests.uml.inside.net import Place, connector, place, raise_nodes, within
from tests.uml.inside.result import leave
from tests.uml.inside.traffic import Traffic, totals

_DRAIN_S = 0.1
_LEASE_S = 3600.0


def main(folder: Path, count: int, rotations: int, rate: float) -> None:
    stragglers = import_module("authority.keys.stragglers")
    raise_nodes(count)
    places = [place(index) for index in range(1, count + 1)]
    policy = Policy(
        version="uml",
        rotation=RotationRules(standard_s=3600.0, drain_s=_DRAIN_S),
        delivery=DeliveryRules(lease_s=_LEASE_S),
    )
    with open_world(policy) as world:
        site = _Site(world, places)
        site.settle()
        traffic = Traffic(places, rate)
        time.sleep(1.0)
        started = time.monotonic()
        for _ in range(rotations):
            site.rotate()
        took = time.monotonic() - started
        flows = traffic.stop()
        evicted = len(stragglers.given_up(world.conn, "core"))
    spans = sorted(site.spans)
    leave(
        folder,
        {
            "sink": "xfrm",
            "how": "authority",
            "nodes": count,
            "rotations": rotations,
            "deliveries": len(spans),
            "seconds": round(took, 1),
            **totals(flows),
            "delivered_to_installed_ms_p50": round(1000 * statistics.median(spans), 2),
            "delivered_to_installed_ms_p99": round(1000 * spans[int(len(spans) * 0.99)], 2),
            "epochs": site.epochs(),
            "restarts": site.restarts,
            "evicted": evicted,
            "counters": {
                node.name: within(node.name, lambda: read_counters(Path("/proc/thread-self/net/xfrm_stat")))
                for node in places
            },
        },
    )


class _Site:
    """The authority, and nodes that open what it pushes, install it, and say so.

    Of more than two, the last takes every delivery a turn later, and the second begins anew, with its ledger, for each.
    """

    def __init__(self, world: World, places: list[Place]) -> None:
        self._world = world
        self._sinks: dict[str, XfrmSink] = {}
        self._held: dict[str, KeyBundle] = {}
        self._inbox: deque[Push] = deque()
        self._late: list[Push] = []
        self._places: dict[str, tuple[int, Place]] = {}
        self.restarts = 0
        self.spans: list[float] = []
        self._now()
        create_network(world.conn, world.rt, "core", world.clock)
        for index, one in enumerate(places):
            node_id = world.node(one.name, state="active", score=900)
            world.set_node(node_id, endpoint=one.endpoint)
            self._places[node_id] = (index, one)
            self._sinks[node_id] = self._sink(node_id)
            self._inbox += add_member(
                world.conn, world.rt, "core", node_id, one.address, ResourceClass.NORMAL, self._now()
            )

    def rotate(self) -> None:
        """New epochs of all, each taken into use step by step."""
        for node_id in self._sinks:
            self._inbox += reissue(self._world.conn, self._world.rt, node_id, self._now())
        self.settle()

    def settle(self) -> None:
        """Go on until every pair sends, and is received, under its source's newest epoch alone."""
        while self._inbox or self._late or not self._settled():
            late, self._late = self._late, []
            while self._inbox:
                self._hand(self._inbox.popleft())
            for push in late:
                self._take(push)
            self._inbox += tick(self._world.conn, self._world.rt, self._now())
            time.sleep(0.002)

    def epochs(self) -> list[int]:
        """The newest of every node."""
        return [bundle.epoch for bundle in self._held.values()]

    def _hand(self, push: Push) -> None:
        index, count = self._places[push[0]][0], len(self._sinks)
        if count > 2 and index == count - 1:
            self._late.append(push)
            return
        if count > 2 and index == 1:
            self._sinks[push[0]] = self._sink(push[0])
            self.restarts += 1
        self._take(push)

    def _sink(self, node_id: str) -> XfrmSink:
        index, one = self._places[node_id]
        return XfrmSink({"state_dir": f"/run/sink-{index}"}, connect=connector(one.name))

    def _take(self, push: Push) -> None:
        node_id, event = push
        if not isinstance(event, DeliveryEvent):
            return
        started = time.monotonic()
        self._held[node_id] = bundle = self._world.open(push)
        self._sinks[node_id].install(bundle)
        self.spans.append(time.monotonic() - started)
        ack = DeliveryAck(installed=True, sinks=["xfrm"])
        self._inbox += challenges.acknowledge(self._world.conn, self._world.rt, node_id, event.number, ack, self._now())

    def _settled(self) -> bool:
        newest = {node_id: bundle.epoch for node_id, bundle in self._held.items()}
        others = len(self._sinks) - 1
        for node_id, bundle in self._held.items():
            pairs = [
                (each.direction, node_id if each.direction is Direction.OUTBOUND else each.peer, each.epoch)
                for each in bundle.associations
            ]
            if len(pairs) != 2 * others or any(epoch != newest[source] for _, source, epoch in pairs):
                return False
        return len(self._held) == len(self._sinks)

    def _now(self) -> float:
        self._world.clock = time.time()
        return self._world.clock


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
