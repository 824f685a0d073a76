"""What one process counts and times, in a registry of its own."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import Metric as Family

from authority.metrics import names
from authority.metrics.decisions import UNDECIDED
from authority.metrics.names import Metric
from authority.metrics.snapshot import Snapshot
from authority.trust import PresentationKind

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Plane(StrEnum):
    """Which listener."""

    NODE = "node"
    OPERATOR = "operator"


class Meter:
    """Counters and histograms of a process. Methods may be called from any thread."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry if registry is not None else CollectorRegistry()
        self._challenges = self._counter(names.CHALLENGES)
        self._decisions = self._counter(names.DECISIONS)
        for outcome in (*(each.value for each in PresentationKind), UNDECIDED):
            self._challenges.labels(outcome)
        self._attestations = self._counter(names.ATTESTATIONS)
        self._install_failures = self._counter(names.INSTALL_FAILURES)
        self._handshakes = self._counter(names.HANDSHAKES)
        self._verdict = self._histogram(names.VERDICT)
        self._installed = self._histogram(names.INSTALLED)
        self._transactions = self._histogram(names.DATABASE)
        self._waits = self._histogram(names.DATABASE_WAIT)
        self._lag = self._histogram(names.SCHEDULER_LAG)
        self._sweeps = self._histogram(names.SWEEP)

    def decided(self, kinds: Tally[str], outcomes: Tally[str]) -> None:
        """Records of the audit log by kind, and closed challenges by outcome."""
        for kind, number in kinds.items():
            self._decisions.labels(kind).inc(number)
        for outcome, number in outcomes.items():
            self._challenges.labels(outcome).inc(number)

    def attested(self, outcome: str) -> None:
        """A machine attestation was judged."""
        self._attestations.labels(outcome).inc()

    def judged(self, seconds: float) -> None:
        """A verdict on evidence is durable, `seconds` after the evidence came."""
        self._verdict.observe(seconds)

    def acknowledged(self, seconds: float | None, *, installed: bool) -> None:
        """A node said what became of a delivery that was made `seconds` ago; none where it had said so before."""
        if not installed:
            self._install_failures.inc()
        elif seconds is not None:
            self._installed.observe(max(0.0, seconds))

    def transaction(self, waited_s: float, took_s: float) -> None:
        """A transaction ended."""
        self._waits.observe(waited_s)
        self._transactions.observe(took_s)

    def shaken_hands(self, plane: Plane) -> None:
        """A TLS handshake succeeded."""
        self._handshakes.labels(plane.value).inc()

    def swept(self, late_s: float, took_s: float) -> None:
        """The scheduler swept, `late_s` after it should have."""
        self._lag.observe(max(0.0, late_s))
        self._sweeps.observe(took_s)

    def exposition(self, snapshot: Snapshot) -> bytes:
        """Everything in Prometheus' text format, as `CONTENT_TYPE` says."""
        return generate_latest(_Everything([*self._registry.collect(), *snapshot.families()]))

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self._registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self._registry)


@dataclass(frozen=True)
class _Everything:
    """What `generate_latest` asks of a registry; leaves out when each series began, which only OpenMetrics has."""

    families: Iterable[Family]

    def collect(self) -> Iterator[Family]:
        for family in self.families:
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
