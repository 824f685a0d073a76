"""One boot of a node; arguments: folder, which boot it is, and whether its ledger was kept or lost."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from pathlib import Path

from agent.errors import SinkFailed
from agent.sinks.xfrm import XfrmSink
from agent.sinks.xfrm.client import XfrmClient
from tests.uml.inside.capture import Capture
from tests.uml.inside.keys import bundle
from tests.uml.inside.net import connector, inside, place, raise_nodes
from tests.uml.inside.result import leave
from tests.uml.inside.traffic import MARKER

_PACKETS = 50


def main(folder: Path, boot: int, ledger: str) -> None:
    raise_nodes(2)
    places = [place(1), place(2)]
    if ledger == "lost":
        shutil.rmtree(folder / "sink", ignore_errors=True)
    sink = XfrmSink({"state_dir": str(folder / "sink")}, connect=connector("n1"))
    wire = Capture(places[1])
    refusal = ""
    for epoch in (boot, boot + 1):
        try:
            sink.install(bundle(places, 0, {(0, 1): [epoch]}, {(1, 0): [epoch]}))
        except SinkFailed as error:
            refusal = str(error)
        _send(places)
    held = XfrmClient(connector("n1")()).dump().states
    used = [
        [state.fingerprint.hex(), number]
        for state in held
        if str(state.id.destination) == places[1].endpoint
        for number in range(1, state.sent + 1)
    ]
    seen = wire.seen()
    leave(
        folder,
        {"refusal": refusal, "wire": seen.esp, "clear": seen.clear, "used_at_end": used, "packets": 2 * _PACKETS},
    )


def _send(places: list) -> None:
    with inside("n1"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind((places[0].address, 0))
        for _ in range(_PACKETS):
            try:
                end.sendto(MARKER, (places[1].address, 7000))
            except OSError:
                continue
    time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
