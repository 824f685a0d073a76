"""Rotations under traffic; arguments: folder, nodes, rotations, packets a second and pair, and how: staged or naive."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from agent.sinks.xfrm import XfrmSink, read_counters
from protocol.delivery import KeyBundle
from tests.uml.inside.keys import Rotator, bundle
from tests.uml.inside.net import connector, place, raise_nodes, within
from tests.uml.inside.result import leave
from tests.uml.inside.traffic import Traffic, totals

_SKEW_S = 0.02
_PAUSE_S = 0.15


def main(folder: Path, count: int, rotations: int, rate: float, how: str) -> None:
    raise_nodes(count)
    places = [place(index) for index in range(1, count + 1)]
    agents = _Agents(folder, places, restarting=count > 2)
    rotator = Rotator(places, agents.install, stragglers={count - 1} if count > 2 else ())
    traffic = Traffic(places, rate)
    time.sleep(1.0)
    started = time.monotonic()
    if how == "naive":
        _swap(places, agents, rotations)
    else:
        _rotate(rotator, rotations)
    took = time.monotonic() - started
    flows = traffic.stop()
    spans = sorted(rotator.spans) or [0.0]
    leave(
        folder,
        {
            "sink": "xfrm",
            "how": how,
            "nodes": count,
            "rotations": rotations,
            "pair_rotations": sum(pair.rotations for pair in rotator.pairs.values()),
            "seconds": round(took, 1),
            **totals(flows),
            "install_ms_p50": round(1000 * statistics.median(spans), 2),
            "install_ms_p99": round(1000 * spans[int(len(spans) * 0.99)], 2),
            "restarts": agents.restarts,
            "counters": {
                node.name: within(node.name, lambda: read_counters(Path("/proc/thread-self/net/xfrm_stat")))
                for node in places
            },
        },
    )


class _Agents:
    """One sink a node, all with a ledger of their own; with `restarting`, one begins anew at every installation."""

    def __init__(self, folder: Path, places: list, *, restarting: bool) -> None:
        self._folder, self._places, self._restarting = folder, places, restarting
        self._sinks = [self._sink(index) for index in range(len(places))]
        self.restarts = 0

    def install(self, node: int, news: KeyBundle) -> None:
        if self._restarting and node == 1:
            self._sinks[node] = self._sink(node)
            self.restarts += 1
        self._sinks[node].install(news)

    def _sink(self, index: int) -> XfrmSink:
        options = {"state_dir": f"/run/sink-{index}"}
        return XfrmSink(options, connect=connector(self._places[index].name))


def _rotate(rotator: Rotator, rotations: int) -> None:
    for _ in range(rotations):
        rotator.begin(list(rotator.pairs))
        rotator.settle()


def _swap(places: list, agents: _Agents, rotations: int) -> None:
    """The control: every node goes from old to new in one step, one a little later than the other."""
    for epoch in range(2, rotations + 2):
        for node in range(len(places)):
            others = [other for other in range(len(places)) if other != node]
            sending = {(node, other): [epoch] for other in others}
            receiving = {(other, node): [epoch] for other in others}
            agents.install(node, bundle(places, node, sending, receiving))
            time.sleep(_SKEW_S)
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
