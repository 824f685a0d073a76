from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from agent.enclave import EnclaveGate
from agent.event_log import read_event_log
from agent.identity import IdentityStore
from agent.outbox import Outbox, PendingEvidence
from agent.state import StateDirectory
from authority.tpm import verify_quote
from protocol.codec import decode, encode
from protocol.digests import attest_digest
from protocol.messages import (
    LONGEST_EVENT_LOG,
    AttestRequest,
    AttestSubmission,
    DeliveryAck,
    DeliveryEvent,
    EvidenceSubmission,
    Nonce,
    QuoteEvidence,
    RenewRequest,
    RenewResult,
    RosterEntry,
)
from protocol.problems import ErrorCode
from tests.agent.daemon_site import (
    GENUINE,
    STATUS,
    VERDICT,
    Site,
    evidence,
    make_site,
    summons,
    until,
)
from tests.agent.people import pipelines
from tests.agent.scripted_authority import Raw, Refusal, served
from tests.agent.world import NODE, SELECTION, bundle


@pytest.fixture
def site(tmp_path: Path, state: StateDirectory, gate: EnclaveGate) -> Iterator[Site]:
    with served(tmp_path) as authority:
        yield make_site(authority, state, gate)


def test_a_summons_that_was_pushed_is_answered_with_evidence(site: Site) -> None:
    site.authority.on_connect = [STATUS, summons()]
    with site.running():
        until(site.prompter.ended.is_set)
    assert len(evidence(site)) == 1
    assert site.standing().verdict == VERDICT
    assert site.standing().status == STATUS
    assert site.prompter.results[0].outcome == "accepted"
    assert not site.state.outbox.exists()


def test_a_summons_that_is_pushed_again_is_answered_once(site: Site) -> None:
    call = summons()
    site.authority.on_connect = [call, call]
    with site.running():
        until(site.prompter.ended.is_set)
        site.authority.hang_up()
        until(lambda: site.authority.connections == 2)
    assert len(site.authority.seen("/v1/challenges/c1/begin")) == 1


def test_two_summonses_are_answered_one_after_the_other(site: Site) -> None:
    site.authority.on_connect = [summons("c1"), summons("c2")]
    with site.running():
        until(lambda: len(site.prompter.results) == 2)
    asked = [path.split("/")[3:] for _, path, _ in site.authority.requests if "challenges" in path]
    assert asked == [["c1", "begin"], ["c1", "evidence"], ["c2", "begin"], ["c2", "evidence"]]


def test_another_person_gives_a_failure_report(site: Site) -> None:
    site.scene.shows = {name: ["somebody else"] for name in GENUINE}
    site.authority.on_connect = [summons()]
    with site.running():
        until(site.prompter.ended.is_set)
    assert evidence(site) == []
    assert len(site.authority.seen("/v1/challenges/c1/failure")) == 1


def test_nobody_at_the_sensors_lets_the_summons_expire_without_beginning(site: Site) -> None:
    site.prompter.admin = None
    site.authority.on_connect = [summons(lasts=0.4)]
    with site.running():
        until(lambda: len(site.prompter.calls) > 1)
    assert site.authority.seen("/v1/challenges/c1/begin") == []


def test_a_missing_sensor_is_told_before_anything_begins(site: Site) -> None:
    site.devices.missing = {"fingerprint", "voice"}
    site.authority.on_connect = [summons()]
    with site.running():
        until(site.prompter.ended.is_set)
        assert site.authority.seen("/v1/challenges/c1/begin") == []
        assert "sensors" in site.prompter.results[0].reason
        site.devices.missing = set()
        until(lambda: evidence(site))


def test_a_profile_of_another_model_is_not_used(site: Site) -> None:
    daemon = site.daemon()
    newer = replace(daemon.answerer, pipelines=pipelines("2"))
    assert newer.answer(summons(lasts=0.2), lambda *_: None) is None
    assert site.authority.seen("/v1/challenges/c1/begin") == []
    daemon.answerer.link.close()


def test_a_summons_for_nobody_enrolled_here_is_left_alone(site: Site) -> None:
    call = msgspec.structs.replace(summons(), roster=[RosterEntry(admin="bob", record_id="ffff")])
    daemon = site.daemon()
    assert daemon.answerer.answer(call, lambda *_: None) is None
    assert site.prompter.calls == []
    daemon.answerer.link.close()


def test_the_authority_refuses_to_begin_and_the_person_is_told(site: Site) -> None:
    def refuse(_: bytes) -> object:
        raise Refusal(409, ErrorCode.CHALLENGE_CLOSED, "this summons is over")

    site.authority.on("POST", "/v1/challenges/c1/begin", refuse)
    site.authority.on_connect = [summons()]
    with site.running():
        until(site.prompter.ended.is_set)
    assert "this summons is over" in site.prompter.results[0].reason


def test_an_authority_that_falls_over_gets_the_same_evidence_again(site: Site) -> None:
    answers: list[object] = [Raw(503, b"restarting"), Raw(502, b"<html>"), VERDICT]
    site.authority.on("POST", "/v1/challenges/c1/evidence", lambda _: answers.pop(0))
    site.authority.on_connect = [summons()]
    with site.running():
        until(site.prompter.ended.is_set)
    sent = evidence(site)
    assert len(sent) == 3
    assert len(set(sent)) == 1
    assert site.standing().verdict == VERDICT


def test_the_evidence_is_not_sent_after_its_deadline(site: Site) -> None:
    site.authority.on("POST", "/v1/challenges/c1/begin", lambda _: site.activation(deadline_s=6.0))
    site.authority.on("POST", "/v1/challenges/c1/evidence", lambda _: Raw(503, b""))
    daemon = site.daemon()
    clock = [time.time()]

    def now() -> float:
        clock[0] += 1.0
        return clock[0]

    outbox = Outbox(site.state, site.config.connection, now, daemon.answerer.clock)
    quote = QuoteEvidence(attest=b"a", signature=b"s", pcrs={0: b"p"})
    pending = PendingEvidence("c1", EvidenceSubmission(token="t", quote=quote), clock[0] + 5.0)
    with pytest.raises(Exception, match="503"):
        outbox.send(lambda: daemon.answerer.link.client, pending)
    assert 1 <= len(evidence(site)) <= 5
    assert not site.state.outbox.exists()
    daemon.answerer.link.close()


def test_evidence_of_an_earlier_run_is_sent_at_the_start(site: Site) -> None:
    quote = QuoteEvidence(attest=b"a", signature=b"s", pcrs={0: b"p"})
    pending = PendingEvidence("c1", EvidenceSubmission(token="left behind", quote=quote), time.time() + 30)
    site.state.outbox.write_bytes(msgspec.json.encode(pending))
    with site.running():
        until(lambda: site.standing().verdict)
    assert b"left behind" in evidence(site)[0]
    assert not site.state.outbox.exists()


def test_evidence_whose_deadline_passed_is_dropped_at_the_start(site: Site) -> None:
    quote = QuoteEvidence(attest=b"a", signature=b"s", pcrs={})
    pending = PendingEvidence("c1", EvidenceSubmission(token="too late", quote=quote), time.time() - 1)
    site.state.outbox.write_bytes(msgspec.json.encode(pending))
    with site.running():
        until(lambda: not site.state.outbox.exists())
    assert evidence(site) == []


def test_an_event_log_goes_along_when_it_is_asked_for_and_there(tmp_path) -> None:
    path = tmp_path / "log"
    assert read_event_log(str(path)) is None and read_event_log("") is None and read_event_log("\0") is None
    path.write_bytes(b"x" * LONGEST_EVENT_LOG)
    assert read_event_log(str(path)) == b"x" * LONGEST_EVENT_LOG
    path.write_bytes(b"x" * (LONGEST_EVENT_LOG + 1))
    assert read_event_log(str(path)) is None


def test_a_machine_attestation_is_quoted_over_its_nonce(site: Site) -> None:
    site.authority.on_connect = [AttestRequest(nonce=b"m" * 32, pcr_selection=SELECTION, expires_at=9e9)]
    with site.running():
        until(lambda: site.authority.seen("/v1/attest"))
    sent = decode(site.authority.seen("/v1/attest")[0], AttestSubmission)
    ak = site.gate.run(lambda enclave: enclave.attestation_key())
    digest = attest_digest(NODE, b"m" * 32)
    verify_quote(sent.quote.attest, sent.quote.signature, ak, digest, SELECTION, sent.quote.pcrs)


def test_a_delivery_is_installed_acknowledged_and_removed_when_the_agent_stops(site: Site) -> None:
    keys = site.state.root / "keys.json"
    site.authority.on_connect = [site.kos.deliver(bundle(expires_at=time.time() + 60), 1)]
    with site.running():
        until(lambda: site.authority.seen("/v1/deliveries/1/ack"))
        assert "blue" in json.loads(keys.read_bytes())["networks"]
    ack = decode(site.authority.seen("/v1/deliveries/1/ack")[0], DeliveryAck)
    assert ack == DeliveryAck(installed=True, sinks=["file"])
    assert json.loads(keys.read_bytes())["networks"] == {}


def test_keys_are_fetched_again_after_a_restart(site: Site) -> None:
    delivery = site.kos.deliver(bundle(expires_at=time.time() + 60), 1)
    site.authority.on_connect = [delivery]
    with site.running():
        until(lambda: site.authority.seen("/v1/deliveries/1/ack"))
    site.authority.on_connect = []
    site.authority.on("GET", "/v1/deliveries", lambda _: [delivery])
    with site.running():
        until(lambda: len(site.authority.seen("/v1/deliveries/1/ack")) == 2)
        assert "blue" in json.loads((site.state.root / "keys.json").read_bytes())["networks"]


def test_keys_go_when_their_lease_passes(site: Site) -> None:
    site.authority.on_connect = [site.kos.deliver(bundle(expires_at=time.time() + 1.2), 1)]
    keys = site.state.root / "keys.json"
    with site.running():
        until(lambda: keys.exists() and json.loads(keys.read_bytes())["networks"])
        until(lambda: not json.loads(keys.read_bytes())["networks"])


def test_garbage_pushed_at_the_agent_changes_nothing(site: Site) -> None:
    forged = DeliveryEvent(number=2, envelope=b"garbage")
    crooked = encode(STATUS).replace(b'"high"', b'"divine"')
    site.authority.on_connect = [b"", b"\xff\xfe", b"[" * 2000, b'{"type":"reboot"}', crooked, forged, STATUS]
    with site.running():
        until(lambda: site.standing().status == STATUS)
    assert site.authority.seen("/v1/deliveries/2/ack") == []


def test_the_agent_comes_back_after_the_connection_broke(site: Site) -> None:
    site.authority.on_connect = [STATUS]
    with site.running():
        until(lambda: site.standing().status == STATUS)
        lower = msgspec.structs.replace(STATUS, score=500)
        site.authority.on_connect = [lower]
        site.authority.hang_up()
        until(lambda: site.standing().status == lower)


def test_a_certificate_past_its_two_thirds_is_renewed(tmp_path: Path, state: StateDirectory, gate: EnclaveGate) -> None:
    with served(tmp_path) as authority:
        site = make_site(authority, state, gate, age=datetime.timedelta(hours=23))
        old = IdentityStore(state).load().tls_file
        fresh = Nonce(nonce=b"n" * 32, pcr_selection=SELECTION, expires_at=9e9)
        authority.on("POST", "/v1/nonces", lambda _: fresh)

        def renew(body: bytes) -> RenewResult:
            csr = x509.load_der_x509_csr(decode(body, RenewRequest).csr)
            return RenewResult(certificate=authority.ca.node(csr.public_key(), NODE))

        authority.on("POST", "/v1/renew", renew)
        with site.running() as daemon:
            until(lambda: IdentityStore(state).load().tls_file != old)
            until(lambda: daemon.answerer.link.certificate.not_before > time.time() - 3600)
        assert len(authority.seen("/v1/renew")) == 1


def test_stages_are_timed_without_any_biometric_value(site: Site) -> None:
    site.authority.on_connect = [summons()]
    with site.running():
        until(site.prompter.ended.is_set)
        site.authority.push(site.kos.deliver(bundle(expires_at=time.time() + 60), 1))
        until(lambda: site.authority.seen("/v1/deliveries/1/ack"))
    lines = [json.loads(line) for line in site.state.timings.read_text().splitlines()]
    stages = next(line for line in lines if line["kind"] == "presentation")
    wanted = {"begin", "capture_face", "features_voice", "unlock", "match", "sign", "quote", "submit", "total"}
    assert wanted <= set(stages)
    assert next(line for line in lines if line["kind"] == "delivery")["since_captured"] > 0
    assert not any(isinstance(value, str) for line in lines for name, value in line.items() if name not in ID)


ID = {"kind", "challenge_id"}
