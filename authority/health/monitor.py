"""Examines an authority now and then, however often it is asked; and one that is stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from authority.config import Site
from authority.health import checks
from authority.health.clock import ClockWatch, KernelClock, kernel_clock
from authority.health.findings import Check, Finding, Report
from authority.keys.kek import KekError, KekProvider
from authority.keys.kek_shelf import KekShelf
from authority.store import Store, StoreUnavailable

FRESH_S = 5.0
"""Whoever asks again within this gets the last report: asking costs the authority next to nothing."""
ANSWER_S = 3.0
"""The database has so long to answer."""
LAG_S = 15.0
"""A scheduler that has not swept for so long lets deadlines pass."""
_DISK_REMEDY = "Look at the disk and at what else holds the database open: `fuser authority.db`."


class Pulse:
    """When the scheduler last swept."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._at = monotonic()

    def beat(self) -> None:
        """It has swept."""
        self._at = self._monotonic()

    def silence_s(self) -> float:
        """Seconds since then."""
        return self._monotonic() - self._at

    def findings(self) -> list[Finding]:
        """Whether that is too long ago."""
        silence = self.silence_s()
        if silence <= LAG_S:
            return []
        text = f"the scheduler has not swept for {silence:.0f} s: deadlines pass unseen"
        return [Finding(Check.SCHEDULER, text, "Look at the log for what holds it up; restart the authority.")]


@dataclass(frozen=True)
class Subject:
    """The authority that is examined; `destinations` are the names of those that alerts go to."""

    site: Site
    store: Store
    kek: KekProvider = field(repr=False)
    destinations: Sequence[str]
    clock: ClockWatch
    pulse: Pulse
    now: Callable[[], float]
    kernel: Callable[[], KernelClock | None] = kernel_clock


class HealthMonitor:
    """Asks the subject anew when the last report is no longer fresh; one examination at a time."""

    def __init__(
        self, subject: Subject, monotonic: Callable[[], float] = time.monotonic, answer_s: float = ANSWER_S
    ) -> None:
        self._subject, self._monotonic, self._answer_s = subject, monotonic, answer_s
        self._report: Report | None = None
        self._at = 0.0
        self._lock = asyncio.Lock()
        self._probing: asyncio.Future[list[Finding]] | None = None

    async def report(self) -> Report:
        """The present report, at most `FRESH_S` old."""
        async with self._lock:
            if self._report is None or self._monotonic() - self._at >= FRESH_S:
                self._report = await self._examine()
                self._at = self._monotonic()
            return self._report

    async def _examine(self) -> Report:
        of, now = self._subject, self._subject.now()
        found = checks.credentials(of.site, now)
        found += checks.clock(of.clock.look(), of.kernel())
        found += checks.disk(of.site.folder)
        found += await asyncio.to_thread(checks.keys, of.site.folder, of.kek)
        found += await self._probe(now)
        return Report(now, [*found, *of.pulse.findings()])

    async def _probe(self, now: float) -> list[Finding]:
        """What the database says; a probe that is still under way is waited for, and none is sent after it."""
        of = self._subject
        if self._probing is None:
            subscribers = [each.name for each in of.site.config.results.subscribers]
            work = of.store.arun(lambda conn: checks.probe(conn, of.destinations, now, subscribers))
            self._probing = asyncio.ensure_future(work)
        done, _ = await asyncio.wait([self._probing], timeout=self._answer_s)
        if not done:
            return [Finding(Check.DATABASE, f"the database has not answered within {self._answer_s:g} s", _DISK_REMEDY)]
        probing, self._probing = self._probing, None
        try:
            return probing.result()
        except StoreUnavailable as error:
            return [Finding(Check.DATABASE, str(error), error.remedy)]


def examine_stopped(
    site: Site,
    destinations: Sequence[str],
    run: Callable[[Callable[[Connection], object]], object],
    now: float,
    kernel: Callable[[], KernelClock | None] = kernel_clock,
) -> Report:
    """What can be seen from the state folder, beside nobody who serves. `run` is one transaction on its database."""
    serving = Finding(
        Check.SERVING, "the authority does not answer", "Start it: `keyvigil-authority serve`.", hinders=True
    )
    found = [serving, *checks.credentials(site, now), *checks.clock(0.0, kernel()), *checks.disk(site.folder)]
    told: list[Finding] = []
    database = site.path(site.config.database)
    if not database.exists():
        missing = Finding(Check.DATABASE, f"{database} is not there", "Restore it: `keyvigil-authority restore`.")
        return Report(now, [*found, missing])
    try:
        run(lambda conn: told.extend(_probed(conn, site, destinations, now)))
    except StoreUnavailable as error:
        told.append(Finding(Check.DATABASE, str(error), error.remedy))
    return Report(now, [*found, *told])


def _probed(conn: Connection, site: Site, destinations: Sequence[str], now: float) -> list[Finding]:
    found = checks.probe(conn, destinations, now, [each.name for each in site.config.results.subscribers])
    kek_id = checks.wrapping_key(conn)
    return found if kek_id is None else [*found, *_opened(site, kek_id)]


def _opened(site: Site, kek_id: str) -> list[Finding]:
    try:
        kek = KekShelf(site.folder).open(kek_id)
    except KekError as error:
        return [Finding(Check.KEYS, str(error), error.remedy)]
    return checks.keys(site.folder, kek)
