"""Challenges, lock-outs and states against a small reference model, with real evidence, crashes and restarts anywhere.

The node is one with a software enclave: everything that it sends is really signed, and really checked.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from authority import audit, challenges, scheduler, standing
from authority.keys import FileKek
from authority.pki import CertificateAuthority
from authority.refusal import Refused
from authority.store import Store, schema
from authority.trust import parse_policy
from drivers.software_enclave import SoftwareEnclaveDriver
from protocol.messages import Activation, EvidenceSubmission, Outcome, Verdict
from tests.authority.nodes import Site, random_bytes
from tests.authority.statement_nodes import StatementMachine

POLICY = parse_policy(
    'version = "model"\n[enclaves]\nallowed = ["software"]\n[scheduler]\noutage_s = 3600\nrefresh_s = 60\n'
)
STEP = 20.0
GRACE, DEADLINE = 900.0, 60.0


class Crash(Exception):
    """The process ends before the transaction is committed."""


class Model:
    """What the rules of docs/trust.md make of it, without a database."""

    def __init__(self) -> None:
        self.state = "pending"
        self.open: str | None = None
        self.activated = False
        self.ends = 0.0
        self.failures = self.accepted = 0
        """In a row since the last isolation or release."""
        self.failed_since_accepted = 0
        self.ever_accepted = False
        self.lock_failures = 0
        self.locked_until = 0.0

    def decide(self, kind: str, now: float) -> None:
        self.open = None
        if kind == "accepted":
            self.failures, self.accepted, self.failed_since_accepted = 0, self.accepted + 1, 0
            self.ever_accepted, self.lock_failures = True, 0
        elif kind == "failed":
            self.failures, self.accepted = self.failures + 1, 0
            self.failed_since_accepted += 1
            self.lock_failures += 1
            if self.lock_failures >= 5:
                self.locked_until = now + 900 * 2 ** (self.lock_failures - 5)
        else:
            self.accepted = 0
        self._follow()

    def _follow(self) -> None:
        if self.state == "pending" and self.accepted:
            self.state = "standing"
        elif self.state == "isolated" and self.accepted >= 2:
            self._move("standing")
        elif self.state == "standing" and self.failures >= 3:
            self._move("isolated")

    def _move(self, state: str) -> None:
        self.state, self.failures, self.accepted = state, 0, 0

    def order(self, action: str) -> bool:
        """Whether the order is allowed; an order for the state that it is in changes nothing."""
        allowed = {"isolate": self.state != "banned", "ban": True, "release": self.state in {"isolated", "banned"}}
        target = {"isolate": "isolated", "ban": "banned", "release": "standing" if self.ever_accepted else "pending"}
        if not allowed[action]:
            return False
        if target[action] != self.state:
            self._move(target[action])
        if self.state == "banned":
            self.open = None
        return True


class Authority(RuleBasedStateMachine):
    """Drives authority and model alike."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="keyvigil-model-"))
        self.stack.callback(shutil.rmtree, self.folder)

    def teardown(self) -> None:
        if hasattr(self, "site"):
            assert self.site.read(audit.verify_log).intact
            self.site.store.close()
        self.stack.close()

    @initialize()
    def begin_with_an_enrolled_node(self) -> None:
        ca = CertificateAuthority.create(self.folder / "ca", ["localhost"], time.time())
        self.site = Site(self._store(), ca, FileKek(random_bytes(32)), policy=POLICY)
        opened = SoftwareEnclaveDriver().open({"folder": str(self.folder / "enclave")})
        self.node = StatementMachine("n1", self.stack.enter_context(opened))
        self.node.join(self.site)
        self.node.enrol(self.site)
        self.model = Model()
        self.activation: Activation | None = None
        self.nonces: set[bytes] = set()
        self.spent: list[tuple[str, EvidenceSubmission, Verdict]] = []
        self._sweep(first=True)

    def _store(self) -> Store:
        return Store(f"sqlite:///{self.folder / 'authority.db'}")

    def _sweep(self, *, first: bool = False) -> None:
        self.site.run(scheduler.sweep, first=first)
        model, now = self.model, self.site.clock
        if model.open is not None and model.ends <= now:
            model.decide("failed" if model.activated else "missed", now)
        row = schema.challenge
        opened = row.c.state.in_(("summoned", "activated"))
        found = self.site.read(lambda conn: conn.execute(select(row).where(opened)).all())
        assert len(found) <= 1
        if model.open is None and found:
            assert model.state != "banned"
            assert model.locked_until <= now
            self._opened(found[0].id, found[0].summoned_at)

    def _opened(self, challenge_id: str, at: float) -> None:
        self.model.open, self.model.activated, self.model.ends = challenge_id, False, at + GRACE

    @rule(steps=st.sampled_from([1, 3, 50]))
    def wait(self, steps: int) -> None:
        for _ in range(steps):
            self.site.clock += STEP
            self._sweep()

    @rule()
    def restart(self) -> None:
        """As after kill -9: nothing but what was committed is there."""
        self.site.store.close()
        self.site.store = self._store()
        self._sweep(first=True)

    @rule()
    def summon(self) -> None:
        now, model = self.site.clock, self.model
        refused = model.state == "banned" or (model.open is None and model.locked_until > now)
        if refused:
            self.site.refuses(scheduler.challenge_now, self.node.node_id, "on-demand")
            return
        pushes = self.site.run(scheduler.challenge_now, self.node.node_id, "on-demand")
        told = [event.challenge_id for _, event in pushes if hasattr(event, "challenge_id")]
        if model.open is None:
            self._opened(told[0], now)
        else:
            assert told == ([] if model.activated else [model.open])

    @precondition(lambda self: self.model.open is not None and not self.model.activated)
    @rule()
    def begin(self) -> None:
        assert self.model.open is not None
        if self.model.locked_until > self.site.clock:
            with pytest.raises(Refused, match="locked"):
                self.node.begin(self.site, self.model.open)
            return
        self.activation = self.node.begin(self.site, self.model.open)
        assert self.activation.nonce not in self.nonces
        self.nonces.add(self.activation.nonce)
        self.model.activated, self.model.ends = True, self.site.clock + DEADLINE

    @precondition(lambda self: self.model.open is not None and self.model.activated)
    @rule(good=st.booleans(), crash=st.booleans())
    def answer(self, good: bool, crash: bool) -> None:
        assert self.activation is not None
        self.site.clock += 5
        challenge_id, now = self.activation.challenge_id, self.site.clock
        changes = {} if good else {"eat_nonce": "A" * 43}
        evidence = self.node.evidence(self.node.claims(self.activation, **changes))
        if crash:
            self._crash(challenge_id, evidence)
            self.restart()
            if self.model.open is None:
                return
        verdict = self.node.submit(self.site, challenge_id, evidence)
        assert verdict.outcome is (Outcome.ACCEPTED if good else Outcome.REJECTED)
        self.spent.append((challenge_id, evidence, verdict))
        self.model.decide("accepted" if good else "failed", now)

    def _crash(self, challenge_id: str, evidence: EvidenceSubmission) -> None:
        def decide(conn: object) -> None:
            site, node = self.site, self.node
            challenges.submit_evidence(
                conn,
                site.rt,
                node.node_id,
                node.certificate,
                challenge_id,
                evidence,
                site.clock,  # type: ignore[arg-type]
            )
            raise Crash

        with pytest.raises(Crash):
            self.site.store.run(decide)

    @rule(kinds=st.lists(st.sampled_from(["good", "bad", "bad", "missed", "timeout"]), min_size=1, max_size=4))
    def rounds(self, kinds: list[str]) -> None:
        """Whole challenges one after another: what launders a failure needs several in a certain order."""
        for kind in kinds:
            model = self.model
            if model.open is None:
                self.summon()
            if model.open is not None and not model.activated and kind != "missed":
                self.begin()
            if model.open is not None and model.activated and kind in {"good", "bad"}:
                self.answer(kind == "good", False)
            else:
                self.wait(3 if model.open is not None and model.activated else 46)

    @precondition(lambda self: self.spent)
    @rule(data=st.data())
    def answer_again(self, data: st.DataObject) -> None:
        """The same evidence has the same verdict, and decides nothing more; for another challenge it is none."""
        challenge_id, evidence, verdict = data.draw(st.sampled_from(self.spent))
        assert self.node.submit(self.site, challenge_id, evidence) == verdict
        model = self.model
        if model.open is not None and model.activated:
            other = self.node.submit(self.site, model.open, evidence)
            assert other.outcome is Outcome.REJECTED
            model.decide("failed", self.site.clock)

    @precondition(lambda self: self.spent)
    @rule()
    def answer_what_is_over(self) -> None:
        """Other evidence for a challenge that was decided is refused, whatever it says."""
        assert self.activation is not None
        challenge_id = self.spent[-1][0]
        if challenge_id != self.activation.challenge_id:
            return
        evidence = self.node.evidence(self.node.claims(self.activation))
        with pytest.raises(Refused, match="other evidence"):
            self.node.submit(self.site, challenge_id, evidence)

    @rule(action=st.sampled_from(["isolate", "release", "ban", "release"]))
    def order(self, action: str) -> None:
        orders = {"isolate": standing.isolate, "release": standing.release, "ban": standing.ban}
        if self.model.order(action):
            self.site.run(orders[action], self.node.node_id, "operator", "test")
        else:
            self.site.refuses(orders[action], self.node.node_id, "operator", "test")

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "model"):
            return
        row, model = self.site.node(self.node.node_id), self.model
        coarse = row.state if row.state in {"pending", "isolated", "banned"} else "standing"
        assert coarse == model.state
        if model.failed_since_accepted >= 2 or model.state == "isolated" or not model.ever_accepted:
            assert row.score <= 500
        elif model.failed_since_accepted:
            assert row.score <= 800
        profile = self.site.profile(self.node.record_id)
        assert profile.failures_in_row == model.lock_failures
        assert (profile.locked_until or 0.0) == model.locked_until


class ThoroughAuthority(Authority):
    """The same for longer."""


TestAuthority = Authority.TestCase
TestAuthority.settings = settings(
    max_examples=5, stateful_step_count=20, deadline=None, suppress_health_check=[*HealthCheck]
)
TestThoroughAuthority = pytest.mark.slow(pytest.mark.timeout(3600)(ThoroughAuthority.TestCase))
TestThoroughAuthority.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=[*HealthCheck]
)

STORIES = {
    "a failure is not laundered by summonses that nobody answers": [
        "good",
        "bad",
        "missed",
        "bad",
        "missed",
        "timeout",
    ],
    "an activated challenge that runs out is a failure": ["good", "timeout", "timeout", "timeout"],
    "isolation ends after two acceptances in a row": ["good", "bad", "bad", "bad", "good", "missed", "good", "good"],
    "a fifth failure locks, for longer each time": [
        "good",
        "bad",
        "bad",
        "bad",
        "bad",
        "bad",
        "missed",
        "bad",
        "bad",
    ],
    "nobody who never was accepted is isolated": ["bad", "bad", "bad", "bad", "good"],
}


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("kinds", STORIES.values(), ids=[*STORIES])
def test_stories_that_chance_seldom_tells(kinds: list[str], restarts: bool) -> None:
    machine = Authority()
    machine.begin_with_an_enrolled_node()
    for kind in kinds:
        machine.rounds([kind])
        if restarts:
            machine.restart()
        machine.agrees()
    machine.teardown()


@pytest.mark.parametrize("good", [False, True])
def test_a_crash_before_the_commit_decides_nothing(good: bool) -> None:
    machine = Authority()
    machine.begin_with_an_enrolled_node()
    machine.summon()
    machine.begin()
    machine.answer(good, True)
    machine.agrees()
    assert [verdict.outcome for _, _, verdict in machine.spent] == [Outcome.ACCEPTED if good else Outcome.REJECTED]
    machine.teardown()
