"""How long installations take; arguments: folder, and numbers of peers."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from agent.sinks.xfrm import XfrmSink
from tests.uml.inside.keys import bundle
from tests.uml.inside.net import Place, connector, raise_nodes
from tests.uml.inside.result import leave

_ROUNDS = 5


def main(folder: Path, sizes: list[int]) -> None:
    raise_nodes(1)
    sink = XfrmSink({"state_dir": "/run/sink"}, connect=connector("n1"))
    warm = _places(1)
    first = _timed(lambda: sink.install(bundle(warm, 0, {(0, 1): [9]}, {(1, 0): [9]})))
    sink.clear("blue")
    leave(folder, {"first_ms": first["wall_ms"], "sizes": {size: _measure(sink, size) for size in sizes}})


def _measure(sink: XfrmSink, size: int) -> dict[str, dict[str, float]]:
    """Median of each step of a rotation in which every peer takes part."""
    places = _places(size)
    others = range(1, size + 1)
    found: dict[str, list[dict[str, float]]] = {}
    for round_ in range(_ROUNDS):
        epoch = size * 10 + 2 * round_
        steps = {
            "first": ([epoch], [epoch]),
            "unchanged": ([epoch], [epoch]),
            "prepare": ([epoch], [epoch, epoch + 1]),
            "switch": ([epoch + 1], [epoch, epoch + 1]),
            "retire": ([epoch + 1], [epoch + 1]),
        }
        for name, (out, into) in steps.items():
            news = bundle(places, 0, {(0, one): out for one in others}, {(one, 0): into for one in others}, at=_LEASE)
            found.setdefault(name, []).append(_timed(lambda news=news: sink.install(news)))
        found.setdefault("clear", []).append(_timed(lambda: sink.clear("blue")))
    return {
        name: {unit: round(statistics.median(run[unit] for run in runs), 2) for unit in ("wall_ms", "cpu_ms")}
        for name, runs in found.items()
    }


_LEASE = time.time()


def _places(size: int) -> list[Place]:
    first = Place("n1", "10.9.0.1", "10.1.1.2")
    virtual, physical = ip_address("10.9.16.0"), ip_address("10.2.0.2")
    return [first, *(Place(f"s{index}", str(virtual + index), str(physical + index)) for index in range(size))]


def _timed(work: Callable[[], None]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall_ms": 1000 * (time.perf_counter() - wall), "cpu_ms": 1000 * (time.process_time() - cpu)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]])
