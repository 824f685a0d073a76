"""The demo's story: onboarding, trust earned, trust worn down, trust broken, trust regained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from simulators.lab.network.wires import NodeWires
from simulators.lab.processes import LabError
from simulators.lab.watch import Watch
from simulators.lab.world import Node, World

HIGH, MEDIUM, LOW = "high", "medium", "low"
SLOW_S = 11.0
SLOPPY = 0.35
ANSWER_S = 45.0
ROUNDS = 9
PACKETS_S = 20.0
"""For so long at most, the story waits for packets to come or to stop: a handshake is tried every five seconds."""
Pairs = Sequence[tuple[str, str]]


@dataclass
class Finding:
    """One thing that the story had to show, and whether it did."""

    act: str
    expected: str
    seen: str
    met: bool


@dataclass
class Story:
    """Plays the acts in order; with `everyone`, each person also answers at every node.

    `packets` pass between the nodes, if any can. `tell` announces each act, `picture` keeps a view, `findings` collects
    what was shown.
    """

    world: World
    watch: Watch
    people: Sequence[str]
    tell: Callable[[str], None]
    picture: Callable[[], None]
    everyone: bool = False
    packets: NodeWires | None = None
    findings: list[Finding] = field(default_factory=list)

    def play(self) -> None:
        """The whole story."""
        self._onboard()
        self._trust_earned()
        if self.everyone:
            self._everyone_everywhere()
        with ThreadPoolExecutor(2) as pool:
            worn, broken = pool.submit(self._trust_worn), pool.submit(self._trust_broken)
        worn.result()
        broken.result()
        self.picture()
        self._trust_regained()

    def _onboard(self) -> None:
        self.tell("Onboarding: each node joins with its TPM, its administrator enrols there")
        self._everywhere(self._onboard_one)
        if self.packets is not None:
            self.packets.start_traffic()
        self.watch.refresh()
        joined = [entry["name"] for entry in self.watch.nodes.values() if entry["profiles"] > 0]
        self._find(
            "onboarding", "every node joined, one administrator enrolled at each", ", ".join(joined), len(joined)
        )

    def _onboard_one(self, pair: tuple[Node, str]) -> None:
        node, person = pair
        self.world.raise_station(node)
        self.world.join(node)
        self.world.enrol(node, person)
        self.world.start_agent(node)

    def _trust_earned(self) -> None:
        self.tell("Challenges answered by the right people: latest keys, standard rotation, full access")
        self._everywhere(lambda pair: self._earn(pair[0]))
        self._traffic("packets: all nodes", "come over every ordered pair", self._pairs(), NodeWires.reached)

    def _earn(self, node: Node) -> None:
        """Seen at once: a score just above the tier fades below it while other nodes are still at work."""
        self._until(node, "high", lambda entry: _grants(entry, HIGH, "full"))
        self._saw("trust earned", node, HIGH, "latest", "standard", "full")

    def _everyone_everywhere(self) -> None:
        self.tell("Everyone answers at every node: only its own administrator may be accepted")
        self._everywhere(self._cross)

    def _cross(self, pair: tuple[Node, str]) -> None:
        """Own, stranger, own, stranger, own: two failures never follow one another, so nobody is isolated."""
        node, own = pair
        strangers = [person for person in self.people if person != own]
        for person in (own, strangers[0], own, strangers[1], own):
            node.send(person)
            self._answer(node)
            seen, wanted = self.watch.last_outcome(node.name), "accepted" if person == own else "failed"
            self._find(f"{person} at {node.name}", wanted, seen, seen == wanted)

    def _trust_worn(self) -> None:
        node = self.world.nodes[1]
        self.tell(
            f"{node.name}: the right person, but slow and careless: previous keys, increased rotation, limited access"
        )
        node.send(self.people[1], delay_s=SLOW_S, care=SLOPPY)
        self._until(node, "medium", lambda entry: _grants(entry, MEDIUM, "limited"))
        self._saw("trust worn down", node, MEDIUM, "previous", "increased", "limited")
        critical = [pair for pair in self._pairs(node) if pair[1] == self.world.nodes[0].name]
        self._traffic(f"packets: {node.name}, limited", "stopped to the critical node", critical, NodeWires.stopped)

    def _trust_broken(self) -> None:
        node = self.world.nodes[2]
        impostor = self.people[0]
        self.tell(f"{node.name}: another person at the sensors: outdated keys, very fast rotation, an alert, isolation")
        node.send(impostor)
        self._until(node, "low", lambda entry: _grants(entry, LOW, "restricted") or entry["access"] == "isolated")
        self._saw("trust broken", node, LOW, "outdated", "very-fast", "restricted")
        self._until(node, "isolation", lambda entry: entry["state"] == "isolated")
        cut_off = self.watch.nodes[node.name]["access"] == "isolated" and node.lost_keys()
        self._find("isolation", "isolated, no key left", "isolated" + ("" if cut_off else ", keys held"), cut_off)
        self._traffic(f"packets: {node.name}, isolated", "stopped to every node", self._pairs(node), NodeWires.stopped)
        alerts = [alert["text"] for alert in self.watch.alerts if alert["node"] == node.name]
        self._find("alert", f"an alert about {node.name}", alerts[-1] if alerts else "none", bool(alerts))

    def _trust_regained(self) -> None:
        steady, back = self.world.nodes[1], self.world.nodes[2]
        self.tell(f"{back.name}: the right person is back; {steady.name}: careful again. Recovery, step by step")
        steady.send(self.people[1])
        back.send(self.people[2])
        self._until(back, "release", lambda entry: entry["state"] != "isolated")
        steps = [self.watch.nodes[back.name]["tier"]]
        self._until(back, "medium", lambda entry: entry["tier"] in (MEDIUM, HIGH))
        steps.append(self.watch.nodes[back.name]["tier"])
        self._until(back, "high", lambda entry: _grants(entry, HIGH, "full"))
        steps.append(self.watch.nodes[back.name]["tier"])
        self._find("recovery", "isolated, then up to high", "isolated → " + " → ".join(steps), steps[-1] == HIGH)
        self._saw("trust regained", back, HIGH, "latest", "standard", "full")
        normal = [pair for pair in self._pairs(back) if pair[1] == steady.name]
        self._traffic(f"packets: {back.name}, released", "come again", normal, NodeWires.passes)
        self._until(steady, "high", lambda entry: entry["tier"] == HIGH)

    def _until(self, node: Node, what: str, reached: Callable[[dict[str, Any]], bool]) -> None:
        """Challenge the node until it is as wanted, at most `ROUNDS` times."""
        for _ in range(ROUNDS):
            if reached(self.watch.nodes[node.name]):
                return
            self._answer(node)
        self.watch.settle()
        if not reached(self.watch.nodes[node.name]):
            entry = self.watch.nodes[node.name]
            raise LabError(
                f"{node.name} did not reach {what} in {ROUNDS} challenges: "
                f"{entry['state']}, {entry['score']}, {entry['explanation']}"
            )

    def _answer(self, node: Node) -> None:
        """One challenge, until it was answered or missed."""
        answered = self.watch.nodes[node.name]["answered"]
        self.watch.challenge(node.name)
        limit = time.monotonic() + ANSWER_S
        while time.monotonic() < limit and self.watch.wait(node.name)["answered"] <= answered:
            continue

    def _everywhere(self, act: Callable[[tuple[Node, str]], None]) -> None:
        pairs: Iterator[tuple[Node, str]] = zip(self.world.nodes, self.people, strict=False)
        with ThreadPoolExecutor(len(self.world.nodes)) as pool:
            list(pool.map(act, pairs))

    def _saw(self, act: str, node: Node, tier: str, version: str, rotation: str, access: str) -> None:
        entry = self.watch.wait_for_key(node.name, version)
        wanted = (tier, version, rotation, access)
        seen = (entry["tier"], entry["version_state"], entry["rotation"], entry["access"])
        self._find(f"{act}: {node.name}", ", ".join(wanted), ", ".join(map(str, seen)), seen == wanted)

    def _pairs(self, *sources: Node) -> list[tuple[str, str]]:
        """Ordered pairs of names, from `sources` or from every node."""
        names = [node.name for node in self.world.nodes]
        return [(one.name, other) for one in sources or self.world.nodes for other in names if other != one.name]

    def _traffic(self, act: str, expected: str, pairs: Pairs, holds: Callable[[NodeWires, Pairs, float], bool]) -> None:
        """What became of packets over these pairs, where any can pass."""
        if self.packets is None:
            return
        met = holds(self.packets, pairs, PACKETS_S)
        came = [self.packets.came(*pair) for pair in pairs]
        seen = f"{sum(count for count, _ in came):,} came, the last {max(0.0, min(ago for _, ago in came)):.1f} s ago"
        self._find(act, expected, seen, met)

    def _find(self, act: str, expected: str, seen: str, met: object) -> None:
        self.findings.append(Finding(act, expected, seen, bool(met)))


def _grants(entry: dict[str, Any], tier: str, access: str) -> bool:
    return bool(entry["tier"] == tier and entry["access"] == access)
