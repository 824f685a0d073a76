"""A primary dies, a network parts, a replica is killed: no challenge is lost, none is answered twice.

Each writes its longest gap with `record_property` and prints it; no time is asserted, for it depends on the machine.
"""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, select, update

from authority import audit, challenges, scheduler
from authority.keys import FileKek, create_network, fencing
from authority.keys.networks import add_member
from authority.pki import CertificateAuthority
from authority.refusal import Refused
from authority.replicas.duties import BEAT, SharedDuties
from authority.runtime import Push
from authority.store import Store, StoreUnavailable, schema
from authority.trust import parse_policy
from drivers.software_enclave import SoftwareEnclaveDriver
from protocol.messages import DeliveryAck, DeliveryEvent, Outcome
from simulators.lab.postgres import PostgresServer
from tests.authority.nodes import Site, random_bytes
from tests.authority.replicas.proxy import Proxy
from tests.authority.statement_nodes import StatementMachine
from tests.databases import HAS_POSTGRESQL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not HAS_POSTGRESQL, reason="no PostgreSQL server"),
]
T = TypeVar("T")
INSTALLED = DeliveryAck(installed=True, sinks=["file"])
PATIENCE_S = 300.0
AFTERWARDS = 5
"""Challenges that each node answers after the blow."""
POLICY = parse_policy(
    'version = "f"\n[enclaves]\nallowed = ["software"]\n[caps]\nsoftware_enclave = 800\n'
    "[challenge]\nactivation_s = 300\n[speed]\nmin_elapsed_s = 0.5"
)
_log = logging.getLogger(__name__)


@dataclass
class LiveSite(Site):
    """A site whose clock is the machine's."""

    @property
    def clock(self) -> float:  # type: ignore[override]
        return time.time()

    @clock.setter
    def clock(self, _moment: float) -> None:
        """Nobody sets it."""


class Traffic:
    """A node that is challenged, answers, and gets new keys, through one replica, again and again."""

    def __init__(self, site: Site, node: StatementMachine) -> None:
        self.site, self.node = site, node
        self.answered: list[str] = []
        self.keys_at: list[float] = []
        self.faults: list[str] = []
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self.stop.set()
        self._thread.join()

    def gap_s(self) -> float:
        """The longest time between two keys."""
        return max((later - sooner for sooner, later in zip(self.keys_at, self.keys_at[1:], strict=False)), default=0.0)

    def _run(self) -> None:
        try:
            while not self.stop.is_set():
                self._once()
        except Exception as error:
            self.faults.append(repr(error))

    def _once(self) -> None:
        challenge_id = self._patiently(self._summoned)
        try:
            activation = self._patiently(lambda: self.node.begin(self.site, challenge_id))
        except Refused:
            return self._patiently(partial(self._give_up, challenge_id))
        time.sleep(2 * self.site.policy.speed.min_elapsed_s)
        evidence = self.node.evidence(self.node.claims(activation))
        verdict = self._patiently(lambda: self.node.submit(self.site, challenge_id, evidence))
        if verdict.outcome is not Outcome.ACCEPTED:
            self.faults.append(f"{verdict.outcome}: {verdict}")
        self.answered.append(challenge_id)
        self._take_keys(self._patiently(lambda: self.site.run(fencing.renew_all)))
        return None

    def _take_keys(self, pushes: list[Push]) -> None:
        mine = [event for node_id, event in pushes if node_id == self.node.node_id and isinstance(event, DeliveryEvent)]
        for event in mine:
            self.keys_at.append(time.monotonic())
            acknowledge = partial(challenges.acknowledge, number=event.number, ack=INSTALLED)
            self._patiently(partial(self.site.run, acknowledge, self.node.node_id))

    def _summoned(self) -> str:
        found = self.site.run(scheduler.challenge_now, self.node.node_id, "on-demand")
        return str(found[0][1].challenge_id)  # type: ignore[union-attr]

    def _give_up(self, challenge_id: str) -> None:
        """The activation was cut off on its way here: its time runs out, and that must not count as a failure."""
        row = schema.challenge

        def run_out(conn: Connection) -> None:
            ended = time.time()
            conn.execute(update(row).where(row.c.id == challenge_id).values(deadline_at=ended))
            scheduler.note_cut_off(conn, ended)
            scheduler.sweep(conn, self.site.rt, ended)

        self.site.read(run_out)

    def _patiently(self, action: Callable[[], T]) -> T:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return action()
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


@contextmanager
def traffic(folder: Path, stores: list[Store]) -> Iterator[list[Traffic]]:
    ca = CertificateAuthority.create(folder / "ca", ["localhost"], 1_000_000_000.0)
    kek, made = FileKek(random_bytes(32)), []
    with ExitStack() as stack:
        for number, store in enumerate(stores, 1):
            site = LiveSite(store, ca, kek, policy=POLICY)
            enclave = stack.enter_context(SoftwareEnclaveDriver().open({"folder": str(folder / f"n{number}")}))
            node = StatementMachine(f"n{number}", enclave)
            node.join(site)
            node.enrol(site, f"admin{number}")
            site.run(create_network, f"net{number}")
            site.run(add_member, f"net{number}", node.node_id, f"10.0.0.{number}", "normal")
            made.append(Traffic(site, node))
        for each in made:
            each.start()
        try:
            yield made
        finally:
            for each in made:
                each.end()


def wait_for_answers(running: list[Traffic], more: int) -> None:
    wanted = [len(each.answered) + more for each in running]
    deadline = time.monotonic() + PATIENCE_S
    while any(len(each.answered) < count for each, count in zip(running, wanted, strict=True)):
        assert not [fault for each in running for fault in each.faults]
        assert time.monotonic() < deadline, "no challenge is answered any more"
        time.sleep(0.05)


def check(store: Store, running: list[Traffic]) -> None:
    """Every challenge that a node saw accepted was entered once; none is failed or missed; the log holds."""
    row, shown = schema.challenge, schema.presentation

    def look(conn: Any) -> None:
        states = dict(conn.execute(select(row.c.id, row.c.state)).all())
        presented = [*conn.scalars(select(shown.c.challenge_id))]
        for each in running:
            assert not each.faults
            assert all(states[challenge] == "accepted" for challenge in each.answered)
            assert all(presented.count(challenge) == 1 for challenge in each.answered)
        assert {*states.values()} <= {"accepted", "undecided", "summoned", "activated"}
        epochs = conn.execute(select(row.c.node_id, row.c.epoch)).all()
        assert len(epochs) == len({*epochs})
        assert audit.verify_log(conn).intact

    store.run(look)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that a server of another user can reach."""
    made = Path(tempfile.mkdtemp(prefix="kv-failover-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_a_primary_is_killed_and_its_standby_goes_on(folder: Path, record_property: Callable[[str, object], None]):
    with ExitStack() as stack:
        primary = PostgresServer(folder / "primary").create().start()
        stack.callback(primary.kill)
        standby = PostgresServer(folder / "standby").copy_of(primary, "s1").start()
        stack.callback(standby.kill)
        primary.sql("CREATE DATABASE authority")
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = 's1'")
        primary.sql("SELECT pg_reload_conf()")
        stores = [Store(primary.url("authority", standby)) for _ in range(2)]
        for store in stores:
            stack.callback(store.close)
        with traffic(folder, stores) as running:
            wait_for_answers(running, 3)
            primary.kill()
            standby.promote()
            wait_for_answers(running, AFTERWARDS)
        check(stores[0], running)
        gap = max(each.gap_s() for each in running)
    record_property("longest_gap_s", gap)
    _log.info("failover: %d answered, longest gap %.1f s", sum(len(each.answered) for each in running), gap)


def test_a_replica_that_is_cut_off_holds_nobody_up(folder: Path, record_property: Callable[[str, object], None]):
    """It may hold the turn when the network parts: the server takes that from it, and it comes back by itself."""
    with ExitStack() as stack:
        server = PostgresServer(folder / "server").create().start()
        stack.callback(server.kill)
        server.sql("CREATE DATABASE authority")
        proxy = Proxy(server.port)
        stack.callback(proxy.close)
        through = server.url("authority").replace(str(server.port), str(proxy.port))
        stores = [Store(server.url("authority")), Store(through)]
        for store in stores:
            stack.callback(store.close)
        with traffic(folder, stores) as running:
            wait_for_answers(running, 3)
            proxy.cut()
            wait_for_answers(running[:1], AFTERWARDS)
            proxy.heal()
            wait_for_answers(running, AFTERWARDS)
        check(stores[0], running)
        gap = running[0].gap_s()
    record_property("longest_gap_s", gap)
    _log.info("partition: longest gap of the other %.1f s, of the one cut off %.1f s", gap, running[1].gap_s())


HOLDER = """
import sys, time
from authority.replicas.duties import BEAT, SharedDuties
from authority.store import Store
store, duties = Store(sys.argv[1]), SharedDuties("killed")
while True:
    if store.run(lambda conn: duties.hold(conn, BEAT, time.time())):
        print("held", flush=True)
    time.sleep(0.5)
"""


def test_the_beat_of_a_killed_replica_is_taken_over(folder: Path, record_property: Callable[[str, object], None]):
    with ExitStack() as stack:
        server = PostgresServer(folder / "server").create().start()
        stack.callback(server.kill)
        server.sql("CREATE DATABASE authority")
        url = server.url("authority")
        store, duties = Store(url), SharedDuties("other")
        stack.callback(store.close)
        other = subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True)
        stack.callback(other.kill)
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert not store.run(lambda conn: duties.hold(conn, BEAT, time.time()))
        other.send_signal(signal.SIGKILL)
        killed_at = time.monotonic()
        while not store.run(lambda conn: duties.hold(conn, BEAT, time.time())):
            assert time.monotonic() < killed_at + PATIENCE_S
            time.sleep(0.1)
        gap = time.monotonic() - killed_at
        other.wait()
    record_property("longest_gap_s", gap)
    _log.info("beat taken over after %.1f s", gap)
