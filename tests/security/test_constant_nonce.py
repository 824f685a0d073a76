"""CVE-2026-6420: a verifier's nonce became a constant, and a suppressed lint warning hid it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Connection

from authority import appraisal, joining, scheduler
from protocol.messages import AttestRequest, NonceRequest, Outcome
from tests.authority.challenges.answers import activated
from tests.authority.nodes import Machine, Site
from tests.conftest import ROOT
from tests.security.broken import NOTICED, ConstantNonces, passes, replaced, variant

ROUNDS = 4


def check_challenges_differ(site: Site, node: Machine) -> None:
    """Nonces of challenges, in the order in which somebody answers them."""
    nonces = []
    for _ in range(ROUNDS):
        activation = activated(site, node)
        nonces.append(activation.nonce)
        evidence = node.evidence(node.claims(activation))
        assert node.submit(site, activation.challenge_id, evidence).outcome is Outcome.ACCEPTED
    assert {len(nonce) for nonce in nonces} == {32}
    assert len({*nonces}) == ROUNDS, "a nonce came twice"


def attest_nonce(site: Site, node: Machine) -> bytes:
    site.clock += site.policy.attestation.interval_s
    pushes = site.run(scheduler.sweep)
    (event,) = [event for node_id, event in pushes if node_id == node.node_id and isinstance(event, AttestRequest)]
    return event.nonce


def check_nonces_of_renewals(draw: Callable[[], bytes], count: int) -> None:
    nonces = [draw() for _ in range(count)]
    assert {len(nonce) for nonce in nonces} == {32}
    assert len({*nonces}) == count, "a nonce came twice"


def check_old_evidence_is_refused(site: Site, node: Machine) -> None:
    activation = activated(site, node)
    old = node.evidence(node.claims(activation))
    assert node.submit(site, activation.challenge_id, old).outcome is Outcome.ACCEPTED
    assert node.submit(site, activated(site, node).challenge_id, old).outcome is not Outcome.ACCEPTED


def check_nothing_hides_an_unused_argument(sources: Mapping[str, str]) -> None:
    """Where nonces are made or checked, an argument that is not used is a warning that nobody may silence."""
    silenced = re.compile(r"noqa: *[^\n]*\bARG|pylint: *disable=[^\n]*unused-argument|noqa *$", re.MULTILINE)
    assert [name for name, text in sources.items() if silenced.search(text)] == []


def test_no_challenge_has_a_nonce_of_before(site: Site, enrolled: Machine) -> None:
    check_challenges_differ(site, enrolled)


def test_a_constant_nonce_is_noticed(site: Site, enrolled: Machine) -> None:
    with pytest.raises(NOTICED):
        check_challenges_differ(variant(ConstantNonces, site), enrolled)


def test_attestations_have_nonces_of_their_own(site: Site, enrolled: Machine) -> None:
    check_nonces_of_renewals(lambda: attest_nonce(site, enrolled), ROUNDS)


@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_nonces_are_unique_and_as_long(site: Site, count: int) -> None:
    def draw_all(conn: Connection) -> None:
        request, rt = NonceRequest(node_id="0" * 64), site.rt
        check_nonces_of_renewals(lambda: joining.issue_nonce(conn, rt, request, site.clock).nonce, count)

    site.read(draw_all)


def test_constants_are_noticed_among_many() -> None:
    with pytest.raises(NOTICED):
        check_nonces_of_renewals(lambda: bytes(32), 2)
    with pytest.raises(NOTICED):
        check_nonces_of_renewals(iter([bytes(32), bytes(31)]).__next__, 2)


def test_old_evidence_answers_nothing_new(site: Site, enrolled: Machine) -> None:
    check_old_evidence_is_refused(site, enrolled)


def test_an_authority_that_asks_for_no_binding_is_noticed(site: Site, enrolled: Machine) -> None:
    with replaced(appraisal, "_check_binding", passes), pytest.raises(NOTICED):
        check_old_evidence_is_refused(site, enrolled)


def product(*folders: str) -> dict[str, str]:
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    assert files
    return {str(file.relative_to(ROOT)): file.read_text() for file in files}


def test_nothing_hides_an_unused_argument() -> None:
    check_nothing_hides_an_unused_argument(product("authority", "protocol"))


@pytest.mark.parametrize("comment", ["# noqa: ARG001", "# noqa", "# pylint: disable=unused-argument"])
def test_a_hidden_unused_argument_is_noticed(comment: str) -> None:
    source = {str(Path("made.py")): f"def challenge(nonce):  {comment}\n    return bytes(32)\n"}
    with pytest.raises(NOTICED):
        check_nothing_hides_an_unused_argument(source)
