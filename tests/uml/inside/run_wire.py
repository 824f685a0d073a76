"""Every mode and version: what passes the wire with keys, without them, and without the sink; argument: folder."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from agent.sinks.xfrm import XfrmSink, read_counters
from tests.uml.inside.capture import Capture
from tests.uml.inside.keys import bundle
from tests.uml.inside.net import Place, connector, inside, ip, place, raise_nodes, within
from tests.uml.inside.result import leave
from tests.uml.inside.traffic import MARKER

KINDS = ["tunnel4", "transport4", "tunnel6", "transport6", "tunnel64", "tunnel46"]
_PACKETS = 20
_PORT = 7000


def main(folder: Path) -> None:
    raise_nodes(3)
    result = {}
    for kind in KINDS:
        places = [place(index, kind) for index in (1, 2, 3)]
        result[kind] = _look(places)
        for one in places:
            ip(["xfrm state flush", "xfrm policy flush"], one.name)
    leave(folder, result)


def _look(places: list[Place]) -> dict:
    wire = Capture(places[1])
    sinks = [XfrmSink({"state_dir": f"/run/{time.time_ns()}"}, connect=connector(one.name)) for one in places]
    found = {"without_sink": _exchange(places, wire)}
    for node in (0, 1):
        sinks[node].install(_pair(places, node, epoch=1))
    found["with_keys"] = _exchange(places, wire)
    found["shown"] = _shown(places[0])
    found["forged_source"] = _forge(places, sinks)
    sinks[0].install(bundle(places, 0, {}, {}))
    found["evicted_by_sender"] = _exchange(places, wire)
    sinks[0].install(_pair(places, 0, epoch=2))
    sinks[1].install(_pair(places, 1, epoch=2))
    found["restored"] = _exchange(places, wire)
    for sink in sinks[:2]:
        sink.clear("blue")
    found["cleared"] = _exchange(places, wire)
    within(places[0].name, lambda: _flush(places[0]))
    found["clear_from_peer"] = _exchange(places, wire, one_way=True)
    found["counters"] = within(places[1].name, lambda: read_counters(Path("/proc/thread-self/net/xfrm_stat")))
    return found


def _shown(one: Place) -> str:
    """What ip(8) says of the states; the keys are those of a test."""
    return subprocess.run(
        ["ip", "-n", one.name, "-s", "xfrm", "state"], check=True, capture_output=True, text=True
    ).stdout


def _pair(places: list[Place], node: int, epoch: int):
    other = 1 - node
    return bundle(places, node, {(node, other): [epoch]}, {(other, node): [epoch]})


def _flush(one: Place) -> None:
    """The peer's root takes its own policies out: it sends in clear, and its packets must not be taken."""
    ip(["xfrm policy flush"], one.name)


def _exchange(places: list[Place], wire: Capture, *, one_way: bool = False) -> dict[str, int]:
    """Packets both ways; how many arrived, and what was on the wire."""
    wire.seen()
    ends = [_open(one) for one in places[:2]]
    refused = arrived = 0
    for number in range(_PACKETS):
        for end, target in zip(ends[:1] if one_way else ends, (places[1], places[0]), strict=False):
            try:
                end.sendto(MARKER + bytes([number]), (target.address, _PORT))
            except OSError:
                refused += 1
    time.sleep(0.3)
    for end in ends:
        arrived += _count(end)
        end.close()
    seen = wire.seen()
    return {"arrived": arrived, "refused": refused, "esp": len(seen.esp), "clear": seen.clear}


def _forge(places: list[Place], sinks: list[XfrmSink]) -> dict[str, int]:
    """The third member sends under its own key with the first one's address: the second must not take it."""
    before = within(places[1].name, lambda: read_counters(Path("/proc/thread-self/net/xfrm_stat"))) or {}
    first, second, third = places
    liar = Place(third.name, first.address, third.endpoint)
    if first.address == first.endpoint:
        return {}
    sinks[1].install(bundle(places, 1, {(1, 0): [1]}, {(0, 1): [1], (2, 1): [1]}))
    told = bundle([first, second, liar], 2, {(2, 1): [1]}, {})
    sinks[2].install(told)
    version = 6 if ":" in liar.address else 4
    ip([f"addr add {liar.address}/{128 if version == 6 else 32} dev lo"], third.name)
    with inside(third.name):
        end = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    end.bind((liar.address, 0))
    there = _open(second)
    for _ in range(_PACKETS):
        end.sendto(MARKER, (second.address, _PORT))
    time.sleep(0.3)
    arrived = _count(there)
    for one in (end, there):
        one.close()
    ip([f"addr del {liar.address}/{128 if version == 6 else 32} dev lo"], third.name)
    after = within(second.name, lambda: read_counters(Path("/proc/thread-self/net/xfrm_stat"))) or {}
    return {
        "arrived": arrived,
        "mismatches": after.get("XfrmInStateMismatch", 0) - before.get("XfrmInStateMismatch", 0),
    }


def _open(one: Place) -> socket.socket:
    with inside(one.name):
        made = socket.socket(socket.AF_INET6 if ":" in one.address else socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind((one.address, _PORT))
    return made


def _count(end: socket.socket) -> int:
    count = 0
    while True:
        try:
            end.recv(2048)
        except BlockingIOError:
            return count
        count += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
