"""A fleet over days against the real authority, with an injected clock: CPU, memory, database, deadlines, challenges.

Only the nodes are simulated (`fleet_nodes.py`). Scheduler, verification, trust, alerts and the SQLite file are the
authority's; every request is a transaction of its own, every quote and token is verified, every alert goes through the
outbox to a file. One node in a hundred is stolen, one in a hundred falls silent, two in a thousand flood. The beat, the
attestations and the refresh are rarer than by default (`--help`): their cost a node and day is proportional.

    python benchmarks/bench_fleet.py [--nodes 1000] [--days 2] [--seed 7] [--profile FILE] [--json FILE]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from scipy import stats
from sqlalchemy import Connection, func, insert, select, text

sys.path.insert(0, str(Path(__file__).parent.parent))

from authority import scheduler
from authority.alerts import Origin
from authority.alerts.destinations import Destination
from authority.alerts.pump import AlertPump
from authority.alerts.sinks import FileSink
from authority.keys import FileKek
from authority.pki import CertificateAuthority
from authority.runtime import Push, Runtime
from authority.store import Store, schema
from authority.trust import OPEN_CHALLENGES, Policy, parse_policy
from benchmarks.fleet_nodes import Fleet, Habit

DAY_S = 86400.0
HOUR_S = 3600.0
BEGIN = 1_800_000_000.0
CHUNK = 500
SHARES = ((Habit.STOLEN, 0.01), (Habit.SILENT, 0.01), (Habit.FLOODING, 0.002))
POLICY = """
version = "bench"
[attestation]
interval_s = {attest_s}
overdue_after_s = {overdue_s}
[scheduler]
refresh_s = {refresh_s}
outage_s = 3600
"""


class Authority:
    """The authority's parts over one database file, at whatever time is asked for; counts the CPU of what it does."""

    def __init__(self, folder: Path, policy: Policy, seed: int) -> None:
        self.file, self.cpu_s, self.now = folder / "authority.db", 0.0, BEGIN
        self.store = Store(f"sqlite:///{self.file}")
        ca = CertificateAuthority.create(folder / "ca", ["vigil.example"], BEGIN)
        chance = random.Random(seed)
        log = ca.log_signer(BEGIN)
        kek, keys = FileKek(chance.randbytes(32)), (ca.kos_key, ca.approval_key)
        self.rt = Runtime(policy, lambda: self.now, chance.randbytes, kek, *keys, 1, ear_key=ca.ear_key(), log=log)
        self.log = folder / "alerts.log"
        sink = FileSink(self.log)
        self._to = Destination(sink.name, sink)
        self._pump = AlertPump(self.store.run, [self._to], Origin("bench"), self.rt.now, pause_s=1.0)

    def ask(self, action: Callable[..., Any], *arguments: Any, now: float, **named: Any) -> Any:
        """One transaction at a time of its own."""
        self.now, begun = now, time.process_time()
        try:
            return self.store.run(lambda conn: action(conn, self.rt, *arguments, now=now, **named))
        finally:
            self.cpu_s += time.process_time() - begun

    def deliver(self) -> None:
        """Send the alerts that wait."""
        begun = time.process_time()
        self._pump.pump(self._to)
        self.cpu_s += time.process_time() - begun

    def read(self, query: Callable[[Connection], Any]) -> Any:
        """What a query finds, uncounted."""
        return self.store.run(query)


class Course:
    """Days of a fleet's life."""

    def __init__(self, authority: Authority, fleet: Fleet, nodes: int, beat_s: float) -> None:
        self.authority, self.fleet, self._beat_s = authority, fleet, beat_s
        rules = authority.rt.policy
        refreshed = nodes * beat_s / rules.scheduler.refresh_s / scheduler.REFRESHED_AT_ONCE
        asked = nodes * beat_s / rules.attestation.interval_s / scheduler.REQUESTED_AT_ONCE
        self._sweeps = 1 + int(2 * max(refreshed, asked))

    def live(self, until: float) -> None:
        """Beat after beat, with what nodes do in between, and the alerts of each hour."""
        begun = delivered = now = self.authority.now
        with Progress(*Progress.get_default_columns(), console=Console(stderr=True)) as shown:
            days = shown.add_task("simulated days", total=until - begun)
            while now < until:
                self._sweep(now)
                now += self._beat_s
                if now - delivered >= HOUR_S:
                    self.authority.deliver()
                    delivered = now
                shown.update(days, completed=now - begun)
        self.fleet.act(now)
        self.authority.deliver()

    def _sweep(self, now: float) -> None:
        for number in range(self._sweeps):
            self.fleet.act(now)
            pushes: list[Push] = self.authority.ask(scheduler.sweep, now=now + number / 1000)
            self.fleet.hear(pushes, now)


def habits(nodes: int, days: float, chance: random.Random) -> list[tuple[Habit, float]]:
    """Who turns bad, and when: at some time in the first half."""
    found = [each for each, share in SHARES for _ in range(max(1, round(share * nodes)))]
    found += [Habit.HONEST] * (nodes - len(found))
    chance.shuffle(found)
    return [(each, BEGIN + chance.uniform(0.1, 0.5) * days * DAY_S) for each in found]


def measured(folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """All figures of one run."""
    text_ = POLICY.format(attest_s=chosen.attest, overdue_s=2.5 * chosen.attest, refresh_s=chosen.refresh)
    authority = Authority(folder, parse_policy(text_), chosen.seed)
    fleet = Fleet(authority.ask, chosen.seed)
    turning = habits(chosen.nodes, chosen.days, random.Random(chosen.seed))
    authority.read(lambda conn: conn.execute(insert(schema.administrator).values(name="ada", created_at=BEGIN)))
    for first in range(0, chosen.nodes, CHUNK):
        authority.ask(fleet.enter, turning[first : first + CHUNK], now=BEGIN)
    entered, authority.cpu_s = size_mb(authority), 0.0
    with profiled(authority, chosen.profile):
        Course(authority, fleet, chosen.nodes, chosen.beat).live(BEGIN + chosen.days * DAY_S)
    found = costs(authority, chosen.nodes, chosen.days, entered)
    found |= {"outcomes": dict(sorted(fleet.outcomes.items()))}
    found |= authority.read(lambda conn: deadlines(conn, authority.now, chosen.beat))
    found |= authority.read(lambda conn: uniform(conn, fleet, authority.now))
    found |= authority.read(lambda conn: alerts(conn, authority.log)) | authority.read(lambda conn: tiers(conn, fleet))
    authority.store.close()
    return found


@contextmanager
def profiled(authority: Authority, file: Path | None) -> Iterator[None]:
    """Write what the store's thread spends its time with, if there is a file for it."""
    if file is None:
        yield
        return
    profile = cProfile.Profile()
    authority.read(lambda _: profile.enable())
    yield
    authority.read(lambda _: profile.disable())
    profile.dump_stats(file)


def costs(authority: Authority, nodes: int, days: float, entered_mb: float) -> dict[str, Any]:
    """CPU, memory and disk."""
    size = size_mb(authority)
    rows = authority.read(lambda conn: {each.name: _rows(conn, each) for each in schema.metadata.sorted_tables})
    return {
        "cpu_s": round(authority.cpu_s, 1),
        "cpu_ms_per_node_day": round(1000 * authority.cpu_s / nodes / days, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "database_mb": [entered_mb, size],
        "kb_per_node_day": round(1000 * (size - entered_mb) / nodes / days, 2),
        "rows": {name: many for name, many in rows.items() if many > nodes},
    }


def _rows(conn: Connection, table: Any) -> int:
    return conn.scalar(select(func.count()).select_from(table)) or 0


def size_mb(authority: Authority) -> float:
    """Megabytes of the database's pages."""
    pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    return round(authority.read(lambda conn: conn.scalar(text(pages))) / 1e6, 1)


def deadlines(conn: Connection, now: float, beat_s: float) -> dict[str, Any]:
    """Challenges by how they ended, and by how much the latest end came after its deadline."""
    row = schema.challenge
    found = conn.execute(select(row.c.state, row.c.expires_at, row.c.deadline_at, row.c.answered_at)).all()
    late = [(each.answered_at or now) - (each.deadline_at or each.expires_at) for each in found]
    still = [each for each in found if each.state in OPEN_CHALLENGES]
    overdue = sum((each.deadline_at or each.expires_at) < now - beat_s for each in still)
    return {
        "challenges": dict(Counter(each.state for each in found)),
        "latest_end_after_deadline_s": round(max(late, default=0.0), 1),
        "open_beyond_deadline": overdue,
    }


def uniform(conn: Connection, fleet: Fleet, now: float) -> dict[str, Any]:
    """Kolmogorov-Smirnov of the times between scheduled challenges of honest nodes against their window.

    Only those whose window lies within the run: of others the long ones would be missing.
    """
    row, low, high = schema.challenge, HOUR_S, DAY_S
    query = select(row.c.node_id, row.c.summoned_at).where(row.c.reason == scheduler.SCHEDULED)
    gaps, last = [], dict[str, float]()
    for node_id, at in conn.execute(query.order_by(row.c.node_id, row.c.epoch)):
        since = last.get(node_id)
        if since is not None and since < now - high - HOUR_S and fleet.nodes[node_id].habit is Habit.HONEST:
            gaps.append(at - since)
        last[node_id] = at
    if not gaps:
        return {"ks": None}
    tested = stats.kstest(gaps, stats.uniform(low, high - low).cdf)
    return {"ks": {"gaps": len(gaps), "statistic": round(tested.statistic, 5), "p": round(tested.pvalue, 3)}}


def alerts(conn: Connection, log: Path) -> dict[str, Any]:
    """Alerts raised, by kind, and lines in the file that they were sent to."""
    row = schema.alert
    kinds = dict(conn.execute(select(row.c.kind, func.count()).group_by(row.c.kind)).all())
    written = log.read_bytes().count(b"\n") if log.exists() else 0
    return {"alerts": kinds, "alerts_raised": sum(kinds.values()), "alerts_delivered": written}


def tiers(conn: Connection, fleet: Fleet) -> dict[str, Any]:
    """How many of each sort stand in which tier at the end."""
    row = schema.node
    found = Counter(
        f"{fleet.nodes[node].habit.value}: {tier}" for node, tier in conn.execute(select(row.c.id, row.c.tier))
    )
    return {"tiers": dict(sorted(found.items()))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--days", type=float, default=2.0)
    parser.add_argument("--beat", type=float, default=60.0, help="seconds between sweeps (0.5 in service)")
    parser.add_argument("--attest", type=float, default=21_600.0, help="seconds between attestations (300 by default)")
    parser.add_argument("--refresh", type=float, default=3600.0, help="seconds between refreshes (60 by default)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--profile", type=Path, help="write what cProfile found there")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        given = {name: getattr(chosen, name) for name in ("nodes", "days", "beat", "attest", "refresh", "seed")}
        found = given | measured(Path(folder), chosen)
    print(json.dumps(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
