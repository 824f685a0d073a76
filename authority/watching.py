"""All that watches over one serving process: counts, the scheduler's pulse, the clock, and whether it is in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from sqlalchemy import Connection

from authority.config import Site
from authority.health import Check, ClockWatch, HealthMonitor, Pulse, Report, Subject
from authority.health.checks import certificates, expiry
from authority.metrics import Meter, Snapshot, names, take_snapshot
from authority.metrics.decisions import DecisionCounter
from authority.metrics.names import Metric
from authority.metrics.snapshot import Value
from authority.runtime import Runtime
from authority.store import Store, StoreUnavailable

SCRAPE_S = 5.0


@dataclass(frozen=True)
class Watch:
    """Made once per process by `watch_over`."""

    site: Site
    store: Store
    runtime: Runtime
    destinations: Sequence[str]
    meter: Meter
    decisions: DecisionCounter
    pulse: Pulse
    clock: ClockWatch
    monitor: HealthMonitor

    def swept(self, late_s: float, took_s: float) -> None:
        """The scheduler has swept."""
        self.pulse.beat()
        self.meter.swept(late_s, took_s)

    async def scrape(self, connected: int) -> bytes:
        """All metrics in Prometheus' text format; without those of the database while that does not answer."""
        snapshot = Snapshot()
        try:
            async with asyncio.timeout(SCRAPE_S):
                snapshot = await asyncio.shield(self.store.arun(self._read))
        except (TimeoutError, StoreUnavailable):
            pass
        report = await self.monitor.report()
        return self.meter.exposition(snapshot.with_values(self._of_the_process(report, connected)))

    def _read(self, conn: Connection) -> Snapshot:
        self.meter.decided(*self.decisions.read(conn))
        return take_snapshot(conn, self.destinations, self.runtime.now())

    def _of_the_process(self, report: Report, connected: int) -> Mapping[Metric, Sequence[Value]]:
        health = [
            ((each.value,), float(each.value not in report.failing)) for each in Check if each is not Check.SERVING
        ]
        return {
            names.HEALTH: health,
            names.CERTIFICATE_END: _ends(self.site),
            names.CONNECTED: [((), float(connected))],
            names.GENERATION: [((), float(self.runtime.generation))],
            names.SERVED_BY: [((version("keyvigil"),), 1.0)],
        }


def watch_over(site: Site, store: Store, runtime: Runtime, destinations: Sequence[str]) -> Watch:
    """Begin to watch: transactions are timed and decisions counted from now on."""
    meter, decisions = Meter(), DecisionCounter()
    pulse, clock = Pulse(), ClockWatch(runtime.now, time.monotonic)
    subject = Subject(site, store, runtime.kek, destinations, clock, pulse, runtime.now)
    store.run(decisions.read)
    store.observe = meter.transaction
    return Watch(site, store, runtime, destinations, meter, decisions, pulse, clock, HealthMonitor(subject))


def _ends(site: Site) -> list[Value]:
    found: list[Value] = []
    for name, file, _ in certificates(site):
        try:
            found.append(((name,), expiry(file)))
        except (OSError, ValueError):
            continue  # the health check names the file
    return found
