"""`keyvigil-lab network`: real agents and tunnels, traffic through them, rotations, and nodes that lose their trust."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authority.cli.output import CommandFailed
from protocol.digests import failure_digest
from protocol.levels import Access, NodeState
from protocol.messages import FailureSubmission, Outcome
from simulators.lab.demo import make_folder
from simulators.lab.insider import Insider
from simulators.lab.network.course import Course, Recorder
from simulators.lab.network.fabric import MEMBERS, SITE_ADDRESS, Port, leave_host_network
from simulators.lab.network.report import Report, Tunnels
from simulators.lab.ports import free_port
from simulators.lab.processes import Child, LabError, command
from simulators.lab.site import LabSite
from simulators.lab.world import NETWORK, World, wait_for

READY_S = 60.0
IN_FLIGHT_S = 1.0
"""After this long, a packet that did not come is lost."""
RECOVERY_S, SILENCE_S = 60.0, 60.0
ANSWERS = 10
PASSING = {Access.FULL, Access.LIMITED}
"""With these, a node exchanges packets with nodes of the class `normal`."""

POLICY = """\
version = "network-1"
lab = true
[challenge]
min_s = 3600
max_s = 7200
activation_s = 20
[speed]
min_elapsed_s = 0
[attestation]
interval_s = 3600
overdue_after_s = 86400
[rotation]
standard_s = 86400
increased_s = 3600
very_fast_s = 300
[isolation]
failures = 2
recover_after = 1
[caps]
unowned_tpm = 900
[lockout]
failures = 10
duration_s = 1
releases_per_day = 100000
[scheduler]
refresh_s = 0.5
outage_s = 30
[enrolment.require]
voice = ["spoken-digits"]
"""
"""Two failures isolate, one success ends it, and nothing else happens while packets are counted."""


@dataclass(frozen=True)
class NetworkOptions:
    """How many nodes over which sink, `rate` packets a second per ordered pair, what is done and how often."""

    sink: str = "wireguard"
    nodes: int = 3
    rotations: int = 10
    period_s: float = 2.0
    demotions: int = 2
    rate: float = 50.0
    picture: Path | None = None
    keep: Path | None = None


@dataclass
class Member:
    """A node of the lab's network: the machine, its wires, its daemon."""

    machine: Insider
    port: Port
    agent: Child

    @property
    def name(self) -> str:
        """The node's name."""
        return self.machine.name


def run_network(options: NetworkOptions, changed: Callable[[Course], None], said: Callable[[str], None]) -> Report:
    """Raise the network, count, take it down; raises `LabError`. `said` is told what is being done."""
    leave_host_network()
    folder = make_folder(options.keep)
    try:
        with NetworkLab(folder, options, said) as lab:
            return lab.play(changed)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


class NetworkLab:
    """A site whose nodes exchange packets; a context manager. With `files`, keys also go to each node's `keys.json`."""

    def __init__(
        self,
        folder: Path,
        options: NetworkOptions,
        said: Callable[[str], None],
        policy: str = POLICY,
        *,
        files: bool = False,
    ) -> None:
        self._folder, self._options, self._said = folder, options, said
        self._policy, self._files = policy, files
        self._stack = ExitStack()
        self._tunnels = Tunnels()
        self.members: list[Member] = []

    def __enter__(self) -> NetworkLab:
        try:
            self._raise(self._stack)
        except BaseException:
            self._stack.close()
            raise
        return self

    def _raise(self, stack: ExitStack) -> None:
        world = stack.enter_context(World(self._folder, [], self._policy, None))
        world.authority.address = SITE_ADDRESS
        world.authority.node_port, world.authority.operator_port = free_port(), free_port()
        self._said("starting the authority")
        world.raise_authority()
        self.site = LabSite(world)
        for number in range(1, self._options.nodes + 1):
            self._said(f"node-{number} joins")
            self.members.append(self._member(stack, number))

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def play(self, changed: Callable[[Course], None]) -> Report:
        """All that is to be shown, in order."""
        report = Report(self._options.sink, len(self.members))
        self.begin_traffic()
        recorder = Recorder(self._standings, self._came, changed)
        recorder.start()
        try:
            with self.counted(report):
                self._rotate(report, recorder)
            self._demote(report, recorder)
        finally:
            recorder.close()
            save_course(recorder.course, self._options)
        report.installed_s = self._installed()
        report.staged, report.in_force = self._tunnels.staged(), self._tunnels.in_force()
        return report

    def _member(self, stack: ExitStack, number: int) -> Member:
        folder = self._folder / f"node-{number}"
        folder.mkdir(mode=0o700)
        port = Port(stack, folder, number)
        machine = stack.enter_context(Insider(self.site, folder.name, folder, self._sink(port, folder)))
        if self._files:
            machine.config.write_text(machine.config.read_text() + _file_sink(folder / "keys.json"))
        machine.join()
        body = {"node": machine.name, "address": port.address, "resource_class": "normal"}
        self.site.operator.post(f"/v1/networks/{NETWORK}/members", body)
        self.site.operator.post(f"/v1/mapping/nodes/{machine.name}", {"endpoint": port.endpoint})
        machine.enrol()
        for _ in range(ANSWERS):
            if machine.answer().tier.value == "high":
                break
        if self._options.sink == "wireguard":
            port.raise_tunnel()
        else:
            port.route()
        argv = [command("keyvigil"), "agent", "run", "--config", str(machine.config)]
        agent = Child(f"agent of {machine.name}", port.namespace.argv(*argv), folder / "agent.log").start()
        stack.callback(agent.stop)
        return Member(machine, port, agent)

    def _sink(self, port: Port, folder: Path) -> tuple[str, Mapping[str, object]]:
        if self._options.sink == "wireguard":
            return port.sink(NETWORK)
        return self._options.sink, {"state_dir": str(folder / "xfrm"), "protect": [MEMBERS]}

    def begin_traffic(self) -> None:
        """Have every node send to every other one, and return when all hear one another."""
        self._said("waiting for packets between all nodes")
        for member in self.members:
            peers = [other.port.address for other in self.members if other is not member]
            member.port.start_traffic(peers, self._options.rate)
        wait_for("traffic between all nodes", self.all_talk, READY_S, *(member.agent for member in self.members))

    def all_talk(self) -> bool | None:
        """Whether something came over every ordered pair within the last half second."""
        recent = time.time() - 0.5
        for member in self.members:
            totals = member.port.totals()
            if sum(last > recent for _, last in totals.values()) < len(self.members) - 1:
                return None
        return True

    @contextmanager
    def counted(self, report: Report) -> Iterator[None]:
        """Count what is sent meanwhile, and what of it came."""
        began, begin = time.monotonic(), {member.name: member.port.sent() for member in self.members}
        before = self._drops()
        yield
        end = {member.name: member.port.sent() for member in self.members}
        report.seconds = round(time.monotonic() - began, 1)
        time.sleep(IN_FLIGHT_S)
        report.drops = dict(self._drops() - before)
        for source in self.members:
            for destination in self.members:
                if source is not destination:
                    to = destination.port.address
                    first, last = begin[source.name][to], end[source.name][to]
                    received, duplicated = destination.port.received(source.port.address, first, last)
                    report.sent += last - first
                    report.lost += last - first - received
                    report.duplicated += duplicated

    def _drops(self) -> Counter[str]:
        return sum((member.port.drops() for member in self.members), Counter())

    def _rotate(self, report: Report, recorder: Recorder) -> None:
        self._look_at_tunnels()
        for number in range(1, self._options.rotations + 1):
            self._said(f"rotation {number} of {self._options.rotations}")
            recorder.act("rotation")
            self.site.operator.post(f"/v1/networks/{NETWORK}/rotate")
            time.sleep(self._options.period_s)
            self._check()
            self._look_at_tunnels()
            report.rotations += 1
        time.sleep(self._options.period_s)

    def _demote(self, report: Report, recorder: Recorder) -> None:
        """Nodes fail in turn: first one that heeds what it is told, then one whose agent is stopped."""
        for number in range(self._options.demotions):
            member = self.members[-1 - number % len(self.members)]
            for unheeding, found in ((False, report.cut_s), (True, report.cut_unheeded_s)):
                self._said(f"{member.name} fails" + (", and heeds nothing" if unheeding else ""))
                found.append(self._cut(member, recorder, unheeding=unheeding))
                report.back_s.append(self._recover(member, recorder))

    def _cut(self, member: Member, recorder: Recorder, *, unheeding: bool) -> float:
        if unheeding:
            # An agent that stops while it has the enclave would keep it from whoever answers for the node.
            member.machine.with_enclave(lambda _: member.agent.pause())
        recorder.act(f"{member.name} fails" + (", heeding nothing" if unheeding else ""))
        verdict_at = self._fail(member.machine)
        last = wait_for(f"the last packet of {member.name}", lambda: self._silent_since(member), SILENCE_S)
        return round(max(0.0, last - verdict_at), 3)

    def _silent_since(self, member: Member) -> float | None:
        """When the last packet of the node came to any peer (POSIX seconds), once none may be on its way."""
        address, others = member.port.address, [other for other in self.members if other is not member]
        last = max(other.port.totals()[address][1] for other in others)
        return last if time.time() > last + 2 * IN_FLIGHT_S else None

    def _recover(self, member: Member, recorder: Recorder) -> float:
        member.agent.resume()
        recorder.act(f"{member.name} answers")
        self._regain(member.machine)
        began = time.monotonic()
        wait_for(f"packets of {member.name} again", self.all_talk, RECOVERY_S)
        return round(time.monotonic() - began, 3)

    def _regain(self, machine: Insider) -> None:
        """Presentations that are accepted, until packets of the node may pass again."""
        for _ in range(ANSWERS):
            if machine.answer().outcome is not Outcome.ACCEPTED:
                raise LabError(f"{machine.name} answered in vain")
            if machine.standing()["access"] in PASSING:
                return
        raise LabError(f"{machine.name} did not regain access in {ANSWERS} answers")

    def _fail(self, machine: Insider) -> float:
        """Presentations that end as when nobody is recognised, until one isolates; when the authority said so."""
        while True:
            activation = machine.begin()
            digest = failure_digest(activation.challenge_id, activation.record_id, activation.nonce)
            machine.client.submit_failure(activation.challenge_id, FailureSubmission(quote=machine.quote(digest)))
            if machine.standing()["state"] == NodeState.ISOLATED:
                ((at,),) = self._query("SELECT answered_at FROM challenge WHERE id = ?", activation.challenge_id)
                return float(at)

    def _standings(self) -> dict[str, dict[str, Any]]:
        try:
            entries = self.site.operator.get("/v1/nodes")
        except CommandFailed as error:
            raise LabError(str(error)) from None
        return {entry["name"]: entry | (entry["networks"] or [{}])[0] for entry in entries}

    def _came(self) -> dict[str, int]:
        names = {member.port.address: member.name for member in self.members}
        came = dict.fromkeys(names.values(), 0)
        for member in self.members:
            for source, (count, _) in member.port.totals().items():
                came[names[source]] += count
        return came

    def _installed(self) -> list[float]:
        rows = self._query("SELECT acked_at - issued_at FROM delivery WHERE acked_at IS NOT NULL")
        return [round(seconds, 3) for (seconds,) in rows]

    def _query(self, text: str, *values: object) -> list[Any]:
        """Rows of the authority's database."""
        database = self.site.authority.state / "authority.db"
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as conn:
            return conn.execute(text, values).fetchall()

    def _look_at_tunnels(self) -> None:
        if self._options.sink == "wireguard":
            for member in self.members:
                self._tunnels.look(member.name, member.port.interface)

    def _check(self) -> None:
        for member in self.members:
            member.agent.check()


def save_course(course: Course, options: NetworkOptions) -> None:
    """Draw it where a picture is wanted; raises `LabError`."""
    if options.picture is None:
        return
    from simulators.lab.network.picture import save_picture

    try:
        save_picture(course, options.picture, f"{options.nodes} nodes over {options.sink}")
    except OSError as error:
        raise LabError(f"cannot write {options.picture}: {error.strerror}") from None


def _file_sink(path: Path) -> str:
    return f'[[sinks]]\nkind = "file"\noptions = {{ path = {json.dumps(str(path))} }}\n'
