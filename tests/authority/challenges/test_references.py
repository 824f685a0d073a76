"""Reference values: learned at joining, candidates that fail until they are accepted, rolled out and taken back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest
from sqlalchemy import select

from authority import challenges, references, scheduler
from authority.references import Kind
from authority.refusal import Refused
from authority.store import schema
from authority.tpm import parse_attest
from protocol.digests import attest_digest
from protocol.messages import AttestRequest, AttestSubmission, Outcome, QuoteEvidence
from tests.authority.nodes import SELECTION, Machine, Site
from tests.authority.tpm import forge, forge_log

T = TypeVar("T")
BOOT = {pcr: forge_log.extended(bytes(32), forge_log.SEPARATOR_DATA) for pcr in SELECTION}
LOADED = {**BOOT, 4: forge_log.extended(BOOT[4], b"loader")}


class Fake:
    """A node whose attestation key is ours, so that its registers are whatever we say."""

    def __init__(self, site: Site, node_id: str, boot: dict[int, bytes]) -> None:
        self.site, self.node_id, self.pcrs = site, node_id, boot
        self.forger = forge.Forger()
        site.set_node(node_id, ak_public=self.forger.public, reset_count=0, clock=0, reference_pcrs=texts(boot))
        site.read(lambda conn: conn.execute(schema.reference_value.delete()))

    def attest(self, log: bytes | None = None) -> Outcome:
        self.site.clock += 301
        pushes = self.site.run(scheduler.sweep)
        request = next(event for to, event in pushes if to == self.node_id and isinstance(event, AttestRequest))
        attest = self.forger.quote(
            forge.selection((forge.SHA256, SELECTION)),
            forge.pcr_digest([self.pcrs[pcr] for pcr in SELECTION]),
            extra=attest_digest(self.node_id, request.nonce),
        )
        quote = QuoteEvidence(attest=attest, signature=self.forger.sign(attest), pcrs=self.pcrs)
        submission = AttestSubmission(nonce=request.nonce, quote=quote)
        if log is not None and request.event_log:
            submission = msgspec.structs.replace(submission, event_log=log)
        result, _ = self.site.run(challenges.attest, self.node_id, submission)
        return result.outcome


def texts(pcrs: dict[int, bytes]) -> str:
    return json.dumps({str(index): value.hex() for index, value in pcrs.items()})


@pytest.fixture
def fake(site: Site, enrolled: Machine) -> Fake:
    return Fake(site, enrolled.node_id, BOOT)


def values(site: Site, state: str | None = None) -> list[dict]:
    return site.read(lambda conn: references.listing(conn, None, state))


def act(site: Site, action: Callable[..., T], *arguments: Any) -> T:
    return site.read(lambda conn: action(conn, *arguments, site.clock))


def refusal(site: Site, action: Callable[..., Any], *arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        act(site, action, *arguments)
    return caught.value


def candidate(site: Site) -> int:
    (found,) = values(site, "candidate")
    return found["id"]


def test_what_a_node_joined_in_is_shown_as_learned_and_audited(site: Site, enrolled: Machine):
    (learned,) = values(site)
    assert (learned["state"], learned["node"], learned["kind"]) == ("learned", "n1", "pcrs")
    assert site.audit("reference-learned")


def test_another_state_fails_until_it_is_accepted_and_both_hold_then(site: Site, fake: Fake):
    assert fake.attest() is Outcome.ACCEPTED
    fake.pcrs = LOADED
    assert [fake.attest() for _ in range(2)] == [Outcome.REJECTED] * 2
    assert site.alerts().count("reference-candidate") == 1
    act(site, references.accept, candidate(site), "ada")
    assert fake.attest() is Outcome.ACCEPTED
    fake.pcrs = BOOT
    assert fake.attest() is Outcome.ACCEPTED
    assert [json.loads(row.data)["kind"] for row in site.audit("reference-accepted")] == ["pcrs"]


def test_a_quote_that_does_not_hold_makes_no_candidate(site: Site, fake: Fake):
    fake.pcrs, fake.forger = LOADED, forge.Forger()
    assert fake.attest() is Outcome.REJECTED
    assert values(site, "candidate") == []


def test_a_rejected_candidate_goes_on_failing_and_does_not_come_back(site: Site, fake: Fake):
    fake.pcrs = LOADED
    fake.attest()
    act(site, references.reject, candidate(site), "ada")
    assert fake.attest() is Outcome.REJECTED
    assert values(site, "candidate") == []


def test_what_was_learned_can_be_rejected(site: Site, fake: Fake):
    fake.attest()
    (learned,) = values(site)
    act(site, references.reject, learned["id"], "ada")
    assert fake.attest() is Outcome.REJECTED


def test_an_operator_has_the_next_state_learned(site: Site, fake: Fake):
    fake.attest()
    act(site, references.await_next, fake.node_id, Kind.PCRS, "ada")
    fake.pcrs = LOADED
    assert fake.attest() is Outcome.ACCEPTED
    fake.pcrs = BOOT
    assert fake.attest() is Outcome.REJECTED
    assert [each["state"] for each in values(site)] == ["learned", "candidate"]


def test_a_value_is_staged_after_its_canary_held_and_rolled_back_everywhere(site: Site, fake: Fake, other: Machine):
    other.join(site)
    other_node = Fake(site, other.node_id, BOOT)
    fake.pcrs = LOADED
    fake.attest()
    value = candidate(site)
    act(site, references.accept, value, "ada")
    assert refusal(site, references.stage, value, [other.node_id], "ada").status == 409
    assert fake.attest() is Outcome.ACCEPTED
    assert act(site, references.stage, value, [fake.node_id, other.node_id], "ada") == 1
    other_node.pcrs = LOADED
    assert other_node.attest() is Outcome.ACCEPTED
    assert act(site, references.rollback, value, "ada") == 2
    assert (fake.attest(), other_node.attest()) == (Outcome.REJECTED, Outcome.REJECTED)
    fake.pcrs = BOOT
    assert fake.attest() is Outcome.ACCEPTED


def test_the_log_tells_what_is_different(site: Site, fake: Fake):
    plain = forge_log.header(forge_log.SHA256)
    for pcr in range(8):
        plain += forge_log.event(pcr, forge_log.SEPARATOR, forge_log.SEPARATOR_DATA, forge_log.SHA256)
    fake.attest()
    fake.attest(plain)
    fake.pcrs = LOADED
    fake.attest()
    fake.attest(forge_log.LOG)
    value = candidate(site)
    shown = site.read(lambda conn: references.detail(conn, value))
    assert shown["changes"] == {"4": [BOOT[4].hex(), LOADED[4].hex()]}
    assert shown["events"] == {"gone": [], "new": [[4, "IPL", hashlib.sha256(b"loader").hexdigest(), "loader"]]}


def test_a_log_that_leads_elsewhere_is_not_kept(site: Site, fake: Fake):
    fake.pcrs = LOADED
    fake.attest()
    fake.attest(forge_log.LOG + forge_log.event(4, forge_log.IPL, b"x", forge_log.SHA256))
    assert not any(each["log"] for each in values(site))
    assert site.audit("event-log-refused")


def test_a_node_that_shows_ever_new_states_does_not_fill_the_store(site: Site, fake: Fake):
    for number in range(references.MOST_CANDIDATES + 3):
        fake.pcrs = {**BOOT, 4: bytes([number]) * 32}
        fake.attest()
    assert len(values(site, "candidate")) == references.MOST_CANDIDATES


def test_what_does_not_exist_is_refused(site: Site, fake: Fake):
    for action in (references.accept, references.reject, references.rollback):
        assert refusal(site, action, 999, "ada").status == 404
    fake.attest()
    (learned,) = values(site)
    assert refusal(site, references.accept, learned["id"], "ada").status == 409
    assert refusal(site, references.rollback, learned["id"], "ada").status == 409


def test_values_of_before_there_was_a_table_go_on_holding(site: Site, enrolled: Machine):
    """An upgraded authority has the node's row only."""
    site.read(lambda conn: conn.execute(schema.reference_value.delete()))
    site.clock += 301
    pushes = site.run(scheduler.sweep)
    nonce = next(event.nonce for _, event in pushes if isinstance(event, AttestRequest))
    submission = enrolled.attestation(nonce)
    assert parse_attest(submission.quote.attest).extra_data
    assert site.run(challenges.attest, enrolled.node_id, submission)[0].outcome is Outcome.ACCEPTED
    assert site.read(lambda conn: conn.scalars(select(schema.reference_value.c.state)).all()) == ["learned"]
