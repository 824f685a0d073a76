"""Authority and agents killed at random points of rotations: each ends, only the newest is held, no packet is lost.

Two hundred points; KEYVIGIL_POINTS says otherwise, and KEYVIGIL_SEED chooses other ones. A site with `wireguard-go` in
namespaces: every node's keys go to its tunnel and into a file, packets pass all the time.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from authority.cli.output import CommandFailed
from simulators.lab.network.fabric import leave_host_network
from simulators.lab.network.report import Report
from simulators.lab.network.run import POLICY, NetworkLab, NetworkOptions
from simulators.lab.processes import Child
from simulators.lab.world import NETWORK, wait_for
from tests.namespaces import needs
from tests.security.broken import NOTICED
from tests.system.rotation_witness import (
    Sight,
    Witness,
    bundle_in,
    check_files_hold_what_the_book_says,
    check_no_key_comes_back,
    check_tunnels_hold_what_files_hold,
    held,
    key_file,
    read_book,
)

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(7200), needs("wireguard-go")]

_log = logging.getLogger(__name__)
POINTS = int(os.environ.get("KEYVIGIL_POINTS", "200"))
SEED = int(os.environ.get("KEYVIGIL_SEED", "20261127"))
NODES, RATE = 3, 20.0
HASTY = POLICY.replace("refresh_s = 0.5", "refresh_s = 0.2").replace("[rotation]", "[rotation]\ndrain_s = 0.3")
SETTLED_S = 120.0
AUTHORITY, AGENT = "authority", "agent"
VICTIMS = ((AUTHORITY,), (AGENT,), (AGENT, AGENT), (AUTHORITY, AGENT))


@pytest.fixture(scope="module")
def outside() -> Iterator[ThreadPoolExecutor]:
    """A thread that has left this process's network, in which all of the site is raised and asked."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(leave_host_network).result()
        yield thread


@pytest.fixture(scope="module")
def lab(outside: ThreadPoolExecutor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkLab]:
    folder = tmp_path_factory.mktemp("kr")
    made = NetworkLab(folder, NetworkOptions(nodes=NODES, rate=RATE), _log.info, HASTY, files=True)
    outside.submit(made.__enter__).result()
    try:
        outside.submit(made.begin_traffic).result()
        yield made
    finally:
        outside.submit(made.__exit__).result()


def rotate(lab: NetworkLab) -> bool:
    """Order a rotation; whether the authority lived to say that it has begun."""
    try:
        lab.site.operator.post(f"/v1/networks/{NETWORK}/rotation/start", {})
    except CommandFailed:
        return False
    return True


def has_begun(lab: NetworkLab, before: dict[str, int]) -> bool:
    """Whether every node has a newer epoch than before: the order was carried out, whoever lived to hear of it."""
    epochs = read_book(lab.site.authority.state).epochs
    return all(epochs[each] > epoch for each, epoch in before.items())


def settle(lab: NetworkLab, before: dict[str, int]) -> None:
    """Wait until every node is under a newer epoch than before, and all have said so."""
    state = lab.site.authority.state
    wait_for("the end of a rotation", lambda: read_book(state).settled(before) or None, SETTLED_S)


def strike(lab: NetworkLab, dice: random.Random, whole_s: float, killed: Counter[str]) -> None:
    """One rotation with a `kill -9` somewhere in it, and the restart at once of whoever was killed."""
    before = read_book(lab.site.authority.state).epochs
    agents = dice.sample(lab.members, 2)
    victims: list[Child] = []
    for kind in dice.choice(VICTIMS):
        victims.append(lab.site.authority.server if kind == AUTHORITY else agents.pop().agent)
        killed[kind] += 1
    with ThreadPoolExecutor(1) as pool:
        begun: Future[bool] = pool.submit(rotate, lab)
        time.sleep(dice.uniform(0, whole_s))
        for victim in victims:
            victim.kill()
        for victim in victims:
            victim.start()
    if lab.site.authority.server in victims:
        lab.site.authority.await_answer()
    if not begun.result():
        wait_for("the order to rotate", lambda: has_begun(lab, before) or rotate(lab) or None, SETTLED_S)
    settle(lab, before)


def run_points(lab: NetworkLab, witness: Witness, report: Report) -> Counter[str]:
    """All points, with the checks after each."""
    dice, killed = random.Random(SEED), Counter[str]()
    began, before = time.monotonic(), read_book(lab.site.authority.state).epochs
    assert rotate(lab)
    settle(lab, before)
    whole_s = 1.1 * (time.monotonic() - began)
    with lab.counted(report):
        for number in range(1, POINTS + 1):
            strike(lab, dice, whole_s, killed)
            check_files_hold_what_the_book_says(read_book(lab.site.authority.state), held(lab))
            check_tunnels_hold_what_files_hold(lab)
            check_no_key_comes_back(witness.sight)
            report.rotations += 1
            _log.info("point %d of %d after %.0f s", number, POINTS, time.monotonic() - began)
    return killed


def test_killed_at_any_point_a_rotation_ends_with_what_the_book_says_and_loses_nothing(
    outside: ThreadPoolExecutor, lab: NetworkLab
) -> None:
    report = Report("wireguard", NODES)
    with Witness({member.machine.identity.node_id: key_file(member) for member in lab.members}) as witness:
        killed = outside.submit(run_points, lab, witness, report).result()
    _log.info("%d points in %.0f s: %s, %d packets", report.rotations, report.seconds, killed, report.sent)
    overdue = [alert for alert in outside.submit(lab.site.operator.get, "/v1/alerts").result() if _overdue(alert)]
    assert overdue == []
    assert report.rotations == POINTS
    assert report.sent > POINTS
    assert (report.lost, report.duplicated) == (0, 0)


def _overdue(alert: dict[str, object]) -> bool:
    return str(alert["kind"]).startswith("rotation")


def test_what_the_checks_look_for_is_noticed(lab: NetworkLab) -> None:
    """The control: an epoch that stayed, one that nobody has, another key at one end, and an epoch that came back."""
    book, found = read_book(lab.site.authority.state), held(lab)
    end, (one,) = next(iter(found.items()))
    for wrong in (
        [one, replace(one, epoch=one.epoch - 1)],
        [replace(one, epoch=one.epoch - 1)],
        [replace(one, digest="another")],
    ):
        with pytest.raises(NOTICED):
            check_files_hold_what_the_book_says(book, {**found, end: wrong})
    check_files_hold_what_the_book_says(book, found)
    pair, sight = end[1], Sight()
    sight.note(lab.members[0].machine.identity.node_id, bundle_in(key_file(lab.members[0])))
    check_no_key_comes_back(sight)
    with pytest.raises(NOTICED):
        check_no_key_comes_back(Sight({(pair, one.epoch): {one.digest, "another"}}, {}))
    with pytest.raises(NOTICED):
        check_no_key_comes_back(Sight({(pair, 1): {one.digest}, (pair, 2): {one.digest}}, {}))
    with pytest.raises(NOTICED):
        check_no_key_comes_back(Sight({}, {pair: [1, 2, 1]}))
