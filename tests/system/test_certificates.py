"""Client certificates of seconds: renewed without a gap, and after they have expired."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from agent.errors import AuthorityRefused, AuthorityUnreachable
from agent.identity import Certificate, IdentityStore
from hal import Deadline
from protocol.messages import Outcome
from simulators.lab.insider import Insider
from simulators.lab.processes import Child, command
from simulators.lab.world import wait_for
from tests.system.harness import Since, Site, name_for

pytestmark = pytest.mark.system

GAP_S = 4.0
"""Machine attestations come every second; on a busy machine this long between two is no gap."""


@pytest.fixture
def machine(brisk: Site, insider: Callable[[Site, str], Insider], request: pytest.FixtureRequest) -> Insider:
    made = insider(brisk, name_for(request.node.name)).join().enrol()
    made.answer()
    return made


@pytest.fixture
def agent(machine: Insider) -> Iterator[Child]:
    """The daemon of that node."""
    run = [command("keyvigil"), "agent", "run", "--config", str(machine.config)]
    child = Child(f"agent of {machine.name}", run, machine.folder / "agent.log")
    child.start()
    try:
        yield child
    finally:
        child.stop()


def certificate(machine: Insider) -> Certificate:
    store = IdentityStore(machine.node.state)
    return store.certificate(store.load())


@pytest.mark.slow
def test_a_certificate_is_renewed_without_a_gap(brisk: Site, machine: Insider, agent: Child) -> None:
    mark, first = brisk.since(), certificate(machine)
    seen: list[float] = []

    def attested() -> bool | None:
        at = machine.standing()["last_attested_at"]
        if at not in (None, *seen[-1:]):
            seen.append(at)
        return len(mark.audits("renewed")) >= 2 or None

    wait_for("two renewals", attested, 40, agent)
    gaps = [later - earlier for earlier, later in pairwise(seen)]
    assert len(gaps) > 3
    assert max(gaps) < GAP_S
    assert mark.audits("renewal-refused") == []
    assert certificate(machine).thumbprint != first.thumbprint
    assert _renewals_per_lifetime(brisk, mark) < 4
    text = (machine.folder / "agent.log").read_text()
    assert '"level": "error"' not in text


def _renewals_per_lifetime(brisk: Site, mark: Since) -> float:
    """About one and a half, as renewals come at two thirds of the lifetime, in whole seconds; never a rush of them."""
    times = [each["at"] for each in mark.audits("renewed")]
    return brisk.policy.certificate.lifetime_s / min(later - at for at, later in pairwise(times))


@pytest.mark.slow
def test_a_certificate_is_not_renewed_in_mid_presentation(brisk: Site, machine: Insider, agent: Child) -> None:
    """Evidence names the certificate that it is sent with: a renewal in between would make it another node's."""
    mark, first = brisk.since(), certificate(machine)
    due = first.renew_at(1.0)
    with machine.node.state.sensor_lock(Deadline.after(5, machine.node.clock)):
        wait_for("the time to renew", lambda: time.time() > due + 0.5 or None, 20, agent)
        assert mark.audits("renewed") == []
        assert machine.answer().outcome is Outcome.ACCEPTED
    mark.audited("renewed")


def test_an_expired_certificate_is_refused_and_then_renewed(brisk: Site, machine: Insider) -> None:
    expired = certificate(machine)
    left = expired.not_after - time.time()
    wait_for("the end of the certificate", lambda: time.time() > expired.not_after + 0.5 or None, left + 5)
    with pytest.raises((AuthorityRefused, AuthorityUnreachable)):
        machine.client.deliveries(0)
    run = [command("keyvigil"), "agent", "run", "--config", str(machine.config)]
    child = Child(f"agent of {machine.name}", run, machine.folder / "agent.log")
    before = machine.standing()["last_attested_at"] or 0.0
    try:
        child.start()
        wait_for("an attestation", lambda: (machine.standing()["last_attested_at"] or 0) > before or None, 30, child)
        assert certificate(machine).not_after > expired.not_after
    finally:
        child.stop()
