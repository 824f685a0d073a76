"""Looks at the node's own packet filter and connection tracking, and tells the authority what speaks against a node."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from agent.client import AuthorityClient
from agent.errors import AgentError, AuthorityRefused, AuthorityUnreachable
from agent.hooks import run_hook
from agent.log import event
from agent.signals.counters import CountersUnreadable, Key, as_key, growth, parse_counters
from agent.signals.flows import fan_out, unanswered
from agent.signals.settings import SELF, ConntrackSection, CounterSection, SignalsSection
from protocol.signals import Severity, SignalReport

SCAN = "scan"
MOST_WAITING = 256
_COMMAND_S = 10.0
_LARGEST_OUTPUT = 16 * 1024 * 1024
_LARGEST_TABLE = 64 * 1024 * 1024
_SURE = 900
"""Thousandths: a counter has counted, but a rule may be wider than it was meant."""
_LIKELY = 700
"""Thousandths: flows without an answer can also be a server that is down."""

Run = Callable[[Sequence[str]], bytes]
"""Runs a command to its end and gives what it printed; raises `AgentError`."""


class NetworkWatcher:
    """One look at a time; what could not be sent waits, the oldest dropped first, and a `ref` is never used twice."""

    def __init__(
        self,
        settings: SignalsSection,
        node_id: str,
        run: Run,
        now: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self.interval_s = settings.interval_s
        self._settings = settings
        self._node_id = node_id
        self._run = run
        self._now = now
        self._random = random
        self._packets: Mapping[Key, int] = {}
        self._waiting: deque[SignalReport] = deque(maxlen=MOST_WAITING)

    def look(self) -> None:
        """Find what is new since the last look; one source that fails does not keep the other from being read."""
        for source, find in (("nftables", self._counted), ("conntrack", self._scans)):
            try:
                self._waiting.extend(find())
            except AgentError as error:
                event(logging.ERROR, f"{source} cannot be watched", error=str(error), remedy=error.remedy)

    def send(self, client: AuthorityClient) -> None:
        """Send what waits; a report that the authority refuses is dropped, one that it did not hear is kept."""
        while self._waiting:
            report = self._waiting[0]
            try:
                receipt = client.signal(report)
                event(logging.WARNING, "a signal was sent", kind=report.kind, node=report.node, outcome=receipt.outcome)
            except AuthorityUnreachable:
                return
            except AuthorityRefused as error:
                if error.temporary or error.problem.status == 429:
                    return
                event(logging.WARNING, "a signal was refused", kind=report.kind, node=report.node, reason=str(error))
            self._waiting.popleft()

    @property
    def waiting(self) -> Sequence[SignalReport]:
        """Reports that were not sent yet, oldest first."""
        return tuple(self._waiting)

    def _counted(self) -> Iterator[SignalReport]:
        if not self._settings.counters:
            return
        packets = parse_counters(self._run([*self._settings.nft, "-j", "list", "counters"]))
        before, self._packets = self._packets, packets
        for section in self._settings.counters:
            yield from self._count(section, before, packets)

    def _count(
        self, section: CounterSection, before: Mapping[Key, int], packets: Mapping[Key, int]
    ) -> Iterator[SignalReport]:
        key = as_key(section)
        if key not in packets:
            raise CountersUnreadable(
                f"there is no counter {' '.join(key)}",
                remedy="Make it in the packet filter, or correct [[signals.counters]].",
            )
        if growth(before.get(key), packets[key]) >= section.packets:
            yield self._report("nftables", section.node, section.kind, section.severity, _SURE)

    def _scans(self) -> Iterator[SignalReport]:
        rules = self._settings.conntrack
        if rules is None:
            return
        for source, targets in fan_out(unanswered(self._flows(rules))).items():
            if targets >= rules.fan_out:
                subject = SELF if source in rules.local else source
                yield self._report("conntrack", subject, SCAN, rules.severity, _LIKELY)

    def _flows(self, rules: ConntrackSection) -> Sequence[str]:
        path = Path(rules.path)
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST_TABLE)
        except FileNotFoundError:
            data = self._run(rules.command)
        except OSError as error:
            raise AgentError(
                f"{path} cannot be read: {error.strerror}", remedy="Let the agent's user read it, or set `command`."
            ) from None
        return data.decode("ascii", "replace").splitlines()

    def _report(self, source: str, node: str, kind: str, severity: Severity, confidence: int) -> SignalReport:
        return SignalReport(
            source=source,
            node=self._node_id if node == SELF else node,
            kind=kind,
            severity=severity,
            confidence=confidence,
            observed_at=self._now(),
            ttl=self._settings.ttl_s,
            ref=self._random(12).hex(),
        )


def build_watcher(
    settings: SignalsSection | None, node_id: str, now: Callable[[], float], abort: threading.Event
) -> NetworkWatcher | None:
    """The watcher of a node that has a section `[signals]` with anything to watch."""
    if settings is None or not (settings.counters or settings.conntrack):
        return None

    def run(argv: Sequence[str]) -> bytes:
        answer = run_hook(argv, b"", _COMMAND_S, abort, largest=_LARGEST_OUTPUT)
        if answer.status != 0:
            raise CountersUnreadable(f"{argv[0]} ended with status {answer.status}")
        return answer.output

    return NetworkWatcher(settings, node_id, run, now, os.urandom)
