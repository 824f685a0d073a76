"""An authority in a state folder, and what examines it."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from authority.alerts.destinations import destinations
from authority.config import AuthorityConfig, Listener, Site, load_site, render
from authority.health import Check, ClockWatch, HealthMonitor, KernelClock, Pulse, Report, Subject
from authority.service import Authority, initialise, open_authority


@dataclass
class Examined:
    """`clock` and `steady` stand until they are moved."""

    authority: Authority
    clock: float
    steady: float = 100.0
    kernel: KernelClock | None = field(default_factory=lambda: KernelClock(synchronised=True, error_s=0.01))

    def __post_init__(self) -> None:
        self.pulse = Pulse(lambda: self.steady)
        self.watch = ClockWatch(lambda: self.clock, lambda: self.steady)

    @property
    def site(self) -> Site:
        return self.authority.site

    def pass_time(self, seconds: float) -> None:
        self.clock += seconds
        self.steady += seconds
        self.pulse.beat()

    def monitor(self, answer_s: float = 5.0) -> HealthMonitor:
        """One to which no report is fresh."""
        of = self.authority
        names = [each.name for each in destinations(of.site)]
        subject = Subject(
            of.site, of.store, of.runtime.kek, names, self.watch, self.pulse, lambda: self.clock, lambda: self.kernel
        )
        ages = itertools.count(step=1000)
        return HealthMonitor(subject, lambda: float(next(ages)), answer_s)

    def found(self) -> dict[Check, str]:
        return {each.check: each.reason for each in self.report().findings}

    def report(self) -> Report:
        return asyncio.run(self.monitor().report())


def make_site(folder: Path) -> Site:
    folder.mkdir(mode=0o700)
    config = AuthorityConfig(["localhost"], Listener("127.0.0.1", 8443), Listener("127.0.0.1", 8444))
    (folder / "policy.toml").write_text('version = "test-1"\n')
    site = Site(folder, config)
    (folder / "authority.toml").write_text(render(config))
    return site


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder that was just made, to be copied."""
    site = make_site(tmp_path_factory.mktemp("fresh") / "state")
    initialise(site, ["localhost"])
    return site.folder


@pytest.fixture
def examined(tmp_path: Path, fresh: Path) -> Iterator[Examined]:
    site, now = load_site(shutil.copytree(fresh, tmp_path / "state")), time.time()
    authority = open_authority(site)
    found = Examined(authority, now)
    authority.runtime.now = lambda: found.clock
    yield found
    authority.store.close()
