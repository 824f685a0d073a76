"""Many sources to one node; arguments: folder, sources."""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from ipaddress import ip_address
from pathlib import Path

from agent.sinks.xfrm import XfrmSink, read_counters
from agent.sinks.xfrm.client import XfrmClient, add_state, put_policy
from agent.sinks.xfrm.options import XfrmOptions
from agent.sinks.xfrm.plan import wanted
from tests.uml.inside.capture import Capture
from tests.uml.inside.keys import bundle
from tests.uml.inside.net import Place, connector, inside, ip, place, raise_nodes, within
from tests.uml.inside.result import leave
from tests.uml.inside.traffic import MARKER

_PORT = 7000


def main(folder: Path, count: int) -> None:
    raise_nodes(2)
    hub = place(1)
    sources = [Place("n2", *_addresses(index)) for index in range(count)]
    places = [hub, *(Place(f"s{index}", one.address, one.endpoint) for index, one in enumerate(sources))]
    _address_sources(folder, sources)
    sink = XfrmSink({"state_dir": "/run/sink"}, connect=connector("n1"))
    others = range(1, count + 1)
    started = time.monotonic()
    sink.install(bundle(places, 0, {(0, one): [1] for one in others}, {(one, 0): [1] for one in others}))
    took = time.monotonic() - started
    _play_sources(places)
    wire = Capture(hub)
    arrived = _send(hub, sources)
    held = XfrmClient(connector("n1")()).dump().states
    inbound = [state.id.spi for state in held if str(state.id.destination) == hub.endpoint]
    leave(
        folder,
        {
            "sources": count,
            "states": len(held),
            "inbound_spis": len(set(inbound)),
            "inbound": len(inbound),
            "arrived_once": sum(times == 1 for times in arrived.values()),
            "spis_on_wire": len({spi for spi, _ in wire.seen().esp}),
            "install_ms": round(1000 * took, 1),
            "counters": within("n1", lambda: read_counters(Path("/proc/thread-self/net/xfrm_stat"))),
        },
    )


def _addresses(index: int) -> tuple[str, str]:
    """Virtual and physical."""
    return str(ip_address("10.9.16.0") + index), str(ip_address("10.2.0.2") + index)


def _address_sources(folder: Path, sources: list[Place]) -> None:
    """All of them in one namespace, with routes to them."""
    lines = [f"addr add {one}/32 dev lo" for source in sources for one in (source.address, source.endpoint)]
    script = Path("/run/addresses")
    script.write_text("\n".join(lines))
    ip([f"-batch {script}"], "n2")
    for namespace, via in (("router", "10.1.2.2"), ("n1", "10.1.1.1")):
        ip([f"route add 10.2.0.0/16 via {via}", f"route add 10.9.16.0/20 via {via}"], namespace)


def _play_sources(places: list[Place]) -> None:
    """The sources' ends: a sink holds one node, so the states of each are made from its own bundle by the client."""
    client = XfrmClient(connector("n2")())
    options = XfrmOptions(state_dir="/run/none", fail_closed=False)
    states, policies = [], []
    for one in range(1, len(places)):
        want = wanted(bundle(places, one, {(one, 0): [1]}, {}), options, time.time())
        states += [add_state(state, 3600) for state in want.states.values()]
        policies += [put_policy(policy) for policy in want.policies.values()]
    client.apply(states)
    client.apply(policies)


def _send(hub: Place, sources: list[Place]) -> Counter[str]:
    with inside("n1"):
        there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    there.bind((hub.address, _PORT))
    there.setblocking(False)
    arrived: Counter[str] = Counter()
    for source in sources:
        with inside("n2"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.bind((source.address, 0))
            end.sendto(MARKER, (hub.address, _PORT))
        arrived.update(_drain(there))
    time.sleep(0.3)
    arrived.update(_drain(there))
    return arrived


def _drain(there: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(there.recvfrom(2048)[1][0])
        except BlockingIOError:
            return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
