from __future__ import annotations

import asyncio
import datetime
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from agent.answering import Answerer
from agent.clocks import StoppableClock
from agent.config import Config, parse_config
from agent.daemon import MOST_SUMMONSES, SUMMONSES_KNOWN, Daemon
from agent.deliveries import DeliveryDesk
from agent.enclave import EnclaveGate
from agent.identity import Identity, IdentityStore, TlsKey
from agent.joining import Joining, anonymous_connector
from agent.link import Link
from agent.outbox import Outbox, PendingEvidence
from agent.profile import ProfileDraft, ProfileVault
from agent.sinks.file import FileSink
from agent.standing import Standing, StandingBook
from agent.state import StateDirectory
from agent.timings import TimingLog
from authority.tpm import verify_quote
from hal import Busy, Deadline
from protocol.codec import decode, encode
from protocol.digests import attest_digest
from protocol.levels import Access, Rotation, Tier
from protocol.messages import (
    Activation,
    AttestRequest,
    AttestResult,
    AttestSubmission,
    DeliveryAck,
    DeliveryEvent,
    EvidenceSubmission,
    Nonce,
    Outcome,
    QuoteEvidence,
    RenewRequest,
    RenewResult,
    RosterEntry,
    StatusEvent,
    Summons,
    Verdict,
)
from protocol.problems import ErrorCode
from tests.agent.people import FakeDevices, QuietPrompter, Scene, TextFeatures, pipelines, sensor
from tests.agent.scripted_authority import Raw, Refusal, ScriptedAuthority, served
from tests.agent.world import NODE, SELECTION, bundle, delivery_key, identity, kos_for

SHARE = b"s" * 32
GENUINE = {"fingerprint": ["finger"], "face": ["face"], "voice": ["voice"]}
VERDICT = Verdict(challenge_id="c1", outcome=Outcome.ACCEPTED, reason="", score=950, tier=Tier.HIGH, explanation="0.95")
STATUS = StatusEvent(state="active", score=950, tier=Tier.HIGH, access=Access.FULL, rotation=Rotation.STANDARD)
ATTESTED = AttestResult(outcome=Outcome.ACCEPTED, reason="")


def summons(challenge: str = "c1", lasts: float = 60.0) -> Summons:
    return Summons(
        challenge_id=challenge,
        roster=[RosterEntry(admin="alice", record_id="r1")],
        modalities=["fingerprint", "face", "voice"],
        reason="scheduled",
        expires_at=time.time() + lasts,
    )


def activation(challenge: str = "c1", deadline_s: float = 30.0) -> Activation:
    return Activation(
        challenge_id=challenge,
        record_id="r1",
        nonce=b"n" * 32,
        digits="4719",
        gestures=[],
        release_share=SHARE,
        deadline_s=deadline_s,
        pcr_selection=SELECTION,
    )


@dataclass
class Site:
    """A joined node with alice enrolled, and its scripted authority."""

    authority: ScriptedAuthority
    config: Config
    state: StateDirectory
    gate: EnclaveGate
    identity: Identity
    key: object
    prompter: QuietPrompter = field(default_factory=QuietPrompter)
    scene: Scene = field(default_factory=lambda: Scene({name: list(line) for name, line in GENUINE.items()}))

    def __post_init__(self) -> None:
        self.devices = FakeDevices(self.scene)
        self.kos = kos_for(self.key)  # type: ignore[arg-type]
        self.identity = msgspec.structs.replace(self.identity, kos_public=identity(self.kos, self.key).kos_public)  # type: ignore[arg-type]
        for name in ("c1", "c2"):
            self.authority.on("POST", f"/v1/challenges/{name}/begin", lambda _, name=name: activation(name))
            verdict = msgspec.structs.replace(VERDICT, challenge_id=name)
            self.authority.on("POST", f"/v1/challenges/{name}/evidence", lambda _, verdict=verdict: verdict)
            self.authority.on("POST", f"/v1/challenges/{name}/failure", lambda _, verdict=verdict: verdict)
        self.authority.on("POST", "/v1/attest", lambda _: ATTESTED)
        for number in range(1, 9):
            self.authority.on("POST", f"/v1/deliveries/{number}/ack", lambda _: b"{}")

    def daemon(self) -> Daemon:
        abort = threading.Event()
        clock = StoppableClock(abort)
        store = IdentityStore(self.state)
        connect = anonymous_connector(self.authority.url, 5.0)
        joining = Joining(self.config, self.devices, self.gate, store, time.time, connect)  # type: ignore[arg-type]
        link = Link(store, joining, 5.0)
        answerer = Answerer(
            config=self.config,
            link=link,
            devices=self.devices,  # type: ignore[arg-type]
            pipelines=pipelines(),
            vault=ProfileVault(self.state, os.urandom),
            gate=self.gate,
            state=self.state,
            prompter=self.prompter,
            outbox=Outbox(self.state, self.config.connection, time.time, clock),
            book=StandingBook(self.state, time.time),
            timings=TimingLog(self.state.timings),
            now=time.time,
            clock=clock,
            random=os.urandom,
        )
        sink = FileSink({"path": str(self.state.root / "keys.json")})
        return Daemon(answerer, DeliveryDesk(self.identity, self.state, self.gate, [sink], time.time), time.time, abort)

    @contextmanager
    def running(self) -> Iterator[Daemon]:
        """A daemon in a thread of its own, until the block ends."""
        daemon = self.daemon()
        loop = asyncio.new_event_loop()
        daemon._install_signals = lambda: None  # type: ignore[method-assign]
        thread = threading.Thread(target=lambda: loop.run_until_complete(daemon.run()))
        thread.start()
        try:
            yield daemon
        finally:
            loop.call_soon_threadsafe(daemon.stop)
            thread.join(20)
            daemon.answerer.link.close()
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            assert not thread.is_alive()

    def standing(self) -> Standing:
        return StandingBook(self.state, time.time).read()


@pytest.fixture
def site(tmp_path: Path, state: StateDirectory, gate: EnclaveGate) -> Iterator[Site]:
    with served(tmp_path) as authority:
        yield make_site(authority, state, gate)


def make_site(authority: ScriptedAuthority, state: StateDirectory, gate: EnclaveGate, **certificate: object) -> Site:
    text = f"""
    [node]
    name = "node-a"
    state_dir = "{state.root}"
    authority = "{authority.url}"
    [devices.enclave]
    driver = "tpm2"
    sha256 = "{"0" * 64}"
    [connection]
    retry_min_s = 0.05
    retry_max_s = 0.2
    [prompt]
    retry_s = 0.05
    """
    key = gate.run(delivery_key)
    tls = TlsKey.generate()
    base = identity(kos_for(key), key)
    made = msgspec.structs.replace(base, authority=authority.url, ca=authority.ca.pem)
    pem = authority.ca.node(tls.private.public_key(), NODE, **certificate)  # type: ignore[arg-type]
    stored = IdentityStore(state).commit(made, pem, tls)
    templates = {name: pipeline.enrol([TextFeatures(GENUINE[name][0])]) for name, pipeline in pipelines().items()}
    models = [pipeline.model for pipeline in pipelines().values()]
    draft = ProfileDraft("r1", "alice", models, [sensor(name) for name in templates], "1", 0.0, templates)
    with gate.use() as enclave:
        ProfileVault(state, os.urandom).seal(enclave, NODE, draft, SHARE, tuple(SELECTION), bytes(32))
    site = Site(authority, parse_config(text.encode()), state, gate, stored, key)
    IdentityStore(state).commit(site.identity, pem, tls)
    return site


def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait for the daemon's own threads; bounded, and as short as the condition allows."""
    gate, limit = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "the daemon did not get there"
        gate.wait(0.01)


def evidence(site: Site, challenge: str = "c1") -> list[bytes]:
    return site.authority.seen(f"/v1/challenges/{challenge}/evidence")


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
    site.authority.on("POST", "/v1/challenges/c1/begin", lambda _: activation(deadline_s=6.0))
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


def test_a_roster_that_names_another_administrator_for_a_profile_is_not_followed(site: Site) -> None:
    """Names of the authority reach the prompt only where they are those of an enrolment here."""
    call = msgspec.structs.replace(summons(), roster=[RosterEntry(admin="\x1b[31mbob", record_id="r1")])
    daemon = site.daemon()
    assert daemon.answerer.answer(call, lambda *_: None) is None
    assert site.prompter.calls == []
    daemon.answerer.link.close()


def test_texts_of_the_authority_reach_a_hook_without_control_characters(site: Site) -> None:
    nasty = "drill\x1b]0;owned\x07\u202e"
    crooked = msgspec.structs.replace(activation(), gestures=[nasty], digits="47\x1b")
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
