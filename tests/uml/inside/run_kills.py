"""The installing process killed at random points of rotations; arguments: folder, kills, seed."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from ipaddress import ip_network
from pathlib import Path

from agent.errors import SinkFailed
from agent.sinks.xfrm import XfrmSink
from agent.sinks.xfrm.client import XfrmClient
from agent.sinks.xfrm.layouts import Selector
from agent.sinks.xfrm.plan import wanted
from agent.sinks.xfrm.states import fingerprint
from protocol.delivery import KeyBundle
from tests.uml.inside.keys import bundle
from tests.uml.inside.net import connector, ip, place, raise_nodes
from tests.uml.inside.result import leave

_PEERS = 12
_FOREIGN_SPI = 0x777
_FOREIGN_STATE = (
    f"xfrm state add src 10.1.1.2 dst 10.1.2.2 proto esp spi {_FOREIGN_SPI} reqid 7 mode tunnel "
    f"aead rfc4106(gcm(aes)) 0x{'5a' * 36} 128"
)
_FOREIGN_POLICY = Selector(ip_network("192.0.2.1/32"), ip_network("192.0.2.2/32"))


def main(folder: Path, kills: int, seed: int) -> None:
    raise_nodes(1)
    drawn = random.Random(seed)
    places = [place(index) for index in range(1, _PEERS + 2)]
    options = {"state_dir": "/run/sink"}
    ip([_FOREIGN_STATE, "xfrm policy add src 192.0.2.1/32 dst 192.0.2.2/32 dir out action block priority 7"], "n1")
    landed, wrong, refused, span = 0, [], 0, 0.1
    for number in range(3 * kills):
        if landed == kills:
            break
        news = _bundle(places, number)
        started = time.monotonic()
        died = _install_and_die(options, news, drawn.random() * span)
        landed += died
        span = min(span, 2 * (time.monotonic() - started)) if not died else span * 1.02
        try:
            XfrmSink(options, connect=connector("n1")).install(news)
        except SinkFailed as error:
            refused += 1
            wrong.append(f"{number}: {error}")
        wrong += [f"{number}: {what}" for what in _differences(options, news)]
    leave(
        folder,
        {"installations": number, "kills": landed, "refused": refused, "wrong": wrong[:20], "states": 2 * _PEERS},
    )


def _bundle(places: list, number: int) -> KeyBundle:
    """Phases of rotations one after another: inbound joins, outbound switches, inbound goes; peers come and go."""
    epoch, phase = 1 + number // 3, number % 3
    others = [other for other in range(1, len(places)) if (other + epoch) % 7]
    receiving = [[epoch, epoch + 1], [epoch, epoch + 1], [epoch + 1]][phase]
    sending = epoch if phase == 0 else epoch + 1
    return bundle(places, 0, {(0, other): [sending] for other in others}, {(other, 0): receiving for other in others})


def _install_and_die(options: dict, news: KeyBundle, after_s: float) -> bool:
    """Install in a child that is killed after a while; whether it was still at work."""
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        os.close(ready)
        sink = XfrmSink(options, connect=connector("n1"))
        os.write(go, b".")
        sink.install(news)
        os._exit(0)
    os.close(go)
    os.read(ready, 1)
    os.close(ready)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _differences(options: dict, news: KeyBundle) -> list[str]:
    """What the kernel holds against what it shall, by the bundle and not by the sink's own comparison."""
    sink = XfrmSink(options)
    want = wanted(news, sink._options, time.time())
    connection = connector("n1")()
    held = XfrmClient(connection).dump()
    connection.close()
    states = {(state.id, state.fingerprint) for state in held.states if state.reqid == want.reqid}
    intended = {(state.id, fingerprint(state.key)) for state in want.states.values()}
    sending = {policy.template.spi for policy in held.policies if policy.template and policy.template.spi}
    found = [f"state {one}" for one in states ^ intended]
    if sending != {state.spi for state in want.outbound}:
        found.append("the policies send under other keys")
    if not any(policy.selector == _FOREIGN_POLICY for policy in held.policies):
        found.append("another program's policy is gone")
    if not any(state.id.spi == _FOREIGN_SPI for state in held.states):
        found.append("another program's state is gone")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
