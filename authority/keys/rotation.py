"""Make before break, per ordered pair: what every node shall hold next, by what the deliveries before have done.

Pure: nodes are named by the slots of their memberships, epochs by their numbers. A receiver takes a source's new epoch
first; once it has said so, the source sends under it; once that has said so and the drain time is over, the receiver
lets the old one go. Nothing else is kept of a rotation, so that one goes on after a restart as if there had been none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Epochs = tuple[int, ...]
"""Numbers of epochs, ascending."""


@dataclass(frozen=True)
class Contents:
    """What a delivery holds: of each source the epochs received under, to each destination those sent under.

    `outbound` has one epoch that is in force, and after it those whose time is still to come.
    """

    inbound: Mapping[int, Epochs] = field(default_factory=dict)
    outbound: Mapping[int, Epochs] = field(default_factory=dict)


NOTHING = Contents()


@dataclass(frozen=True)
class Record:
    """What the deliveries to a node, and its acknowledgements, tell of it.

    `sent` is the newest; `installed` are the newest that it acknowledged and all later ones, of which it may have
    installed any, and none where it acknowledged none; `used` those whose outbound keys it may have sent under within
    the drain time. `silent_since` is when the oldest delivery that it owes an acknowledgement for was made.
    """

    sent: Contents = NOTHING
    installed: Sequence[Contents] = ()
    used: Sequence[Contents] = ()
    silent_since: float = math.inf

    def surely_receives(self, source: int, epoch: int) -> bool:
        """Whether the node holds the source's epoch, whichever of its deliveries it has come to."""
        return bool(self.installed) and all(epoch in each.inbound.get(source, ()) for each in self.installed)

    def surely_sends(self, destination: int, epoch: int) -> bool:
        """Whether the node has said that it sends under the epoch, and was told of no other since."""
        return bool(self.installed) and all(
            each.outbound.get(destination, ())[:1] == (epoch,) for each in self.installed
        )

    def told(self, contents: Contents, now: float) -> Record:
        """The record once another delivery was made."""
        installed = [*self.installed, contents] if self.installed else []
        return Record(contents, installed, [*self.used, contents], min(self.silent_since, now))


UNKNOWN = Record()


@dataclass(frozen=True)
class Course:
    """A source's epochs: all that are alive, and the newest that it shall send under now.

    `overtaken` are those before it whose time had not come: nobody begins to send under them. `at_once`: it changes
    to the newest without waiting for anybody. `patience_s` is how long a pair waits for an end.
    """

    alive: Epochs
    target: int
    overtaken: frozenset[int] = frozenset()
    at_once: bool = False
    patience_s: float = math.inf


class Phase(StrEnum):
    """Where an ordered pair stands in its rotation."""

    PREPARING = "preparing"
    """The destination has yet to say that it receives under the new epoch."""
    SWITCHING = "switching"
    """The source has yet to say that it sends under it."""
    DRAINING = "draining"
    """The destination still receives under an older one."""
    SETTLED = "settled"


@dataclass(frozen=True)
class Network:
    """Who sends to whom (destinations by source), each source's course, and what is known of every node."""

    pairs: Mapping[int, Collection[int]]
    courses: Mapping[int, Course]
    records: Mapping[int, Record]

    def record(self, node: int) -> Record:
        """What is known of a node."""
        return self.records.get(node, UNKNOWN)

    def gained(self, source: int) -> bool:
        """Whether the source has a destination that was not told to receive of it: such a pair needs a new key."""
        return any(not self.record(each).sent.inbound.get(source) for each in self.pairs[source])

    def moves(self, source: int) -> bool:
        """Whether a step of the source's rotation is still to come."""
        course, pairs = self.courses[source], self.pairs[source]
        outbound = self.record(source).sent.outbound
        return bool(pairs) and (
            course.alive[0] < course.target
            or len(outbound) < len(pairs)
            or (course.alive[-1] > course.target and any(each[-1] != course.alive[-1] for each in outbound.values()))
        )

    def contents(self) -> dict[int, Contents]:
        """What every node shall hold from now on."""
        outbound = {source: self._outbound(source) for source in self.pairs}
        inbound: dict[int, dict[int, Epochs]] = {node: {} for node in self.pairs}
        for source in self.pairs:
            for destination, epochs in self._inbound(source, outbound[source]).items():
                inbound[destination][source] = epochs
        return {node: Contents(inbound[node], outbound[node]) for node in self.pairs}

    def phase(self, source: int, destination: int) -> Phase:
        """Where the pair stands."""
        course = self.courses[source]
        if not self._ready(source, destination):
            return Phase.PREPARING
        if not self.record(source).surely_sends(destination, course.target):
            return Phase.SWITCHING
        received = self.record(destination).sent.inbound.get(source, ())
        return Phase.DRAINING if any(epoch < course.target for epoch in received) else Phase.SETTLED

    def waited_for(self, source: int, destination: int) -> int | None:
        """The end that the pair's rotation waits for, if it waits for one."""
        match self.phase(source, destination):
            case Phase.PREPARING:
                return destination
            case Phase.SWITCHING:
                return source
            case Phase.DRAINING | Phase.SETTLED:
                return None

    def waiting(self, source: int) -> Iterable[tuple[int, int, float]]:
        """Destination, end waited for, and when patience with that is over, of every pair of the source that waits."""
        for destination in self.pairs[source]:
            end = self.waited_for(source, destination)
            if end is not None:
                yield destination, end, self.record(end).silent_since + self.courses[source].patience_s

    def _ready(self, source: int, destination: int) -> bool:
        target = self.courses[source].target
        told = target in self.record(source).sent.outbound.get(destination, ())
        return told or self.record(destination).surely_receives(source, target)

    def _outbound(self, source: int) -> dict[int, Epochs]:
        course, sent = self.courses.get(source), self.record(source).sent.outbound
        if course is None:
            return {}
        alone = course.alive[0] == course.target and sent.keys() == set(self.pairs[source])
        if alone and all(epochs == course.alive for epochs in sent.values()):
            return dict(sent)
        chosen = {each: self._sends_under(source, each, course) for each in self.pairs[source]}
        return {destination: epochs for destination, epochs in chosen.items() if epochs}

    def _sends_under(self, source: int, destination: int, course: Course) -> Epochs:
        """Never an epoch below the one before: a key that was left is not sent under again."""
        before = self.record(source).sent.outbound.get(destination, ())
        receiver = self.record(destination)
        if course.at_once and before:
            usable = [*course.alive]
        else:
            usable = [each for each in course.alive if each in before or receiver.surely_receives(source, each)]
        usable = [each for each in usable if each not in course.overtaken]
        due = [each for each in usable if each <= course.target]
        return (*due[-1:], *usable[len(due) :])

    def _inbound(self, source: int, outbound: Mapping[int, Epochs]) -> dict[int, Epochs]:
        course = self.courses.get(source)
        if course is None:
            return {}
        if course.alive[0] == course.target:
            return dict.fromkeys(self.pairs[source], course.alive)
        used = [each.outbound for each in self.record(source).used]
        wanted = tuple(each for each in course.alive if each >= course.target)
        found = {}
        for destination in self.pairs[source]:
            sending = {epoch for each in (*used, outbound) for epoch in each.get(destination, ())}
            older = tuple(each for each in course.alive if each < course.target and each in sending)
            found[destination] = older + wanted
        return found
