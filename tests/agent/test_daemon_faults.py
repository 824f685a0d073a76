"""What the daemon does when something goes wrong beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from agent.daemon import MOST_SUMMONSES, SUMMONSES_KNOWN, Daemon
from agent.enclave import EnclaveGate
from agent.errors import BiometricError
from agent.outbox import PendingEvidence
from agent.state import StateDirectory
from hal import Busy, Deadline
from protocol.codec import decode
from protocol.messages import (
    AttestRequest,
    EvidenceSubmission,
    ModalityModel,
    Nonce,
    QuoteEvidence,
    RenewRequest,
    RenewResult,
    RosterEntry,
)
from tests.agent.daemon_site import (
    STATUS,
    VERDICT,
    Site,
    evidence,
    make_site,
    summons,
    until,
)
from tests.agent.people import TextPipeline
from tests.agent.scripted_authority import Raw, served
from tests.agent.world import NODE, SELECTION, bundle


@pytest.fixture
def site(tmp_path: Path, state: StateDirectory, gate: EnclaveGate) -> Iterator[Site]:
    with served(tmp_path) as authority:
        yield make_site(authority, state, gate)


def test_one_use_of_the_enclave_waits_for_the_other(state: StateDirectory, gate: EnclaveGate) -> None:
    with gate.use(), pytest.raises(Busy), gate.use(0.05):
        pass
    with gate.use(0.05) as enclave:
        assert enclave.random(4)


def test_a_second_daemon_on_the_same_state_is_refused(state: StateDirectory) -> None:
    with state.daemon_lock(), pytest.raises(Exception, match="already running"), state.daemon_lock():
        pass
    with state.daemon_lock():
        assert Deadline.after(1).remaining() > 0


def test_an_accepted_presentation_is_told_as_such_on_a_full_disk(site: Site) -> None:
    """The standing is a copy for `keyvigil status`; that it cannot be written does not change the verdict."""
    (site.state.root / ".standing.json.new").mkdir()
    daemon = site.daemon()
    assert daemon.answerer.answer(summons(), lambda *_: None) == VERDICT
    assert [note.outcome for note in site.prompter.results] == ["accepted"]
    daemon.answerer.link.close()


class Broken(TextPipeline):
    @property
    def model(self) -> ModalityModel:
        raise BiometricError("the modality voice failed: ImportError")

    @model.setter
    def model(self, value: ModalityModel) -> None:
        pass


def test_a_modality_that_fails_leaves_the_others_to_answer(site: Site) -> None:
    daemon = site.daemon()
    daemon.answerer.pipelines["voice"] = Broken("voice")  # type: ignore[index]
    assert daemon.answerer.answer(summons(), lambda *_: None) == VERDICT
    assert {step.step for step in site.prompter.steps} == {"fingerprint", "face"}
    daemon.answerer.link.close()


def test_a_roster_that_names_another_administrator_for_a_profile_is_not_followed(site: Site) -> None:
    """Names of the authority reach the prompt only where they are those of an enrolment here."""
    call = msgspec.structs.replace(summons(), roster=[RosterEntry(admin="\x1b[31mbob", record_id="r1")])
    daemon = site.daemon()
    assert daemon.answerer.answer(call, lambda *_: None) is None
    assert site.prompter.calls == []
    daemon.answerer.link.close()


def test_texts_of_the_authority_reach_a_hook_without_control_characters(site: Site) -> None:
    nasty = "drill\x1b]0;owned\x07\u202e"
    crooked = msgspec.structs.replace(site.activation(), gestures=[nasty], digits="47\x1b")
    site.authority.on("POST", "/v1/challenges/c1/begin", lambda _: crooked)
    told = msgspec.structs.replace(VERDICT, explanation=nasty)
    site.authority.on("POST", "/v1/challenges/c1/evidence", lambda _: told)
    call = msgspec.structs.replace(summons(), reason=nasty, modalities=[nasty, "fingerprint", "face", "voice"])
    daemon = site.daemon()
    assert daemon.answerer.answer(call, lambda *_: None) == told
    seen = msgspec.json.encode([*site.prompter.calls, *site.prompter.steps, *site.prompter.results]).decode()
    assert all(text.isprintable() for text in strings(json.loads(seen)))
    assert site.prompter.calls[0].modalities == ["fingerprint", "face", "voice"]
    daemon.answerer.link.close()


def strings(value: object) -> list[str]:
    """Every text within a JSON value."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in strings(part)]


def test_an_error_that_nobody_foresaw_ends_one_presentation_and_not_the_agent(site: Site) -> None:
    """A picture that makes a library raise `ValueError`, say."""
    site.scene.shows["fingerprint"] = [ValueError("secret pixels"), "finger"]
    site.authority.on_connect = [summons("c1"), summons("c2")]
    with site.running():
        until(lambda: evidence(site, "c2"))
    assert evidence(site, "c1") == []


def test_a_storm_of_attestation_requests_keeps_no_lease_alive(site: Site) -> None:
    """Each used to wait for the enclave in a pool of few threads, and the end of a lease for one of those."""
    keys = site.state.root / "keys.json"
    site.authority.on_connect = [site.kos.deliver(bundle(expires_at=time.time() + 2.5), 1)]
    storm = AttestRequest(nonce=b"m" * 32, pcr_selection=SELECTION, expires_at=9e9)
    with site.running():
        until(lambda: keys.exists() and json.loads(keys.read_bytes())["networks"])
        with site.state.enclave_lock(Deadline.after(5)):
            for _ in range(200):
                site.authority.push(storm)
            until(lambda: not json.loads(keys.read_bytes())["networks"])
    assert len(site.authority.seen("/v1/attest")) < 20


def test_a_storm_of_summonses_is_bounded_and_the_rest_is_dropped(site: Site) -> None:
    daemon = site.daemon()
    for number in range(3 * SUMMONSES_KNOWN):
        daemon._summon(summons(f"s{number}"))
    assert daemon._summonses.qsize() == MOST_SUMMONSES
    assert len(daemon._known) == MOST_SUMMONSES
    for number in range(3 * SUMMONSES_KNOWN):
        daemon._summonses.get_nowait()
        daemon._summon(summons(f"t{number}"))
    assert len(daemon._known) == SUMMONSES_KNOWN
    daemon.answerer.link.close()


def test_one_refused_delivery_keeps_the_other_missed_ones_out_no_more(site: Site) -> None:
    blue = site.kos.deliver(bundle("blue", expires_at=time.time() + 60), 1)
    green = site.kos.deliver(bundle("green", expires_at=time.time() + 60), 3)
    site.authority.on_connect = [blue, green]
    with site.running():
        until(lambda: site.authority.seen("/v1/deliveries/3/ack"))
    site.authority.on_connect = []
    expired = site.kos.deliver(bundle("red", expires_at=5.0), 2)
    site.authority.on("GET", "/v1/deliveries", lambda _: [blue, expired, green])
    with site.running():
        until(lambda: len(site.authority.seen("/v1/deliveries/3/ack")) == 2)
        assert set(json.loads((site.state.root / "keys.json").read_bytes())["networks"]) == {"blue", "green"}


def test_stopping_ends_the_tries_to_send_evidence_and_keeps_it_for_the_next_start(site: Site) -> None:
    """Without its sleep the loop would otherwise spin until the deadline."""
    site.authority.on("POST", "/v1/challenges/c1/evidence", lambda _: Raw(503, b""))
    daemon = site.daemon()
    daemon.abort.set()
    quote = QuoteEvidence(attest=b"a", signature=b"s", pcrs={})
    pending = PendingEvidence("c1", EvidenceSubmission(token="t", quote=quote), time.time() + 5)
    with pytest.raises(Exception, match="503"):
        daemon.answerer.outbox.send(lambda: daemon.answerer.link.client, pending)
    assert len(evidence(site)) == 1
    assert site.state.outbox.exists()
    daemon.answerer.link.close()


def test_a_clock_that_runs_ahead_does_not_renew_without_end(
    tmp_path: Path, state: StateDirectory, gate: EnclaveGate
) -> None:
    """To it every new certificate is past two thirds of its life already."""
    with served(tmp_path) as authority:
        site = make_site(authority, state, gate)
        site.config = msgspec.structs.replace(
            site.config, connection=msgspec.structs.replace(site.config.connection, retry_max_s=3600.0)
        )
        fresh = Nonce(nonce=b"n" * 32, pcr_selection=SELECTION, expires_at=9e9)
        authority.on("POST", "/v1/nonces", lambda _: fresh)

        def renew(body: bytes) -> RenewResult:
            csr = x509.load_der_x509_csr(decode(body, RenewRequest).csr)
            return RenewResult(certificate=authority.ca.node(csr.public_key(), NODE))

        authority.on("POST", "/v1/renew", renew)
        authority.on_connect = [STATUS]
        daemon_of = site.daemon

        def ahead() -> Daemon:
            daemon = daemon_of()
            daemon.now = lambda: time.time() + 20 * 3600
            return daemon

        site.daemon = ahead  # type: ignore[method-assign]
        with site.running():
            until(lambda: authority.seen("/v1/renew"))
            authority.on_connect = [msgspec.structs.replace(STATUS, score=1)]
            authority.hang_up()
            until(lambda: site.standing().status is not None and site.standing().status.score == 1)
        assert len(authority.seen("/v1/renew")) == 1
