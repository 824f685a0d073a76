"""A daemon with everything it talks to: a scripted authority, a real enclave, sensors that answer as told."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from agent.answering import Answerer
from agent.clocks import StoppableClock
from agent.config import Config, parse_config
from agent.daemon import Daemon
from agent.deliveries import DeliveryDesk
from agent.enclave import EnclaveGate
from agent.extension import Modality
from agent.identity import Identity, IdentityStore, LogTrust, TlsKey
from agent.joining import Joining, anonymous_connector
from agent.link import Link
from agent.logbook import LogBook
from agent.outbox import Outbox
from agent.profile import ProfileVault
from agent.sinks.file import FileSink
from agent.standing import Standing, StandingBook
from agent.state import StateDirectory
from agent.timings import TimingLog
from hal import CertifiedKey
from protocol.levels import Access, Rotation, Tier
from protocol.messages import (
    Activation,
    AttestResult,
    Outcome,
    RosterEntry,
    StatusEvent,
    Summons,
    Verdict,
)
from tests.agent.people import FakeDevices, QuietPrompter, Scene, modalities, pipelines
from tests.agent.scripted_authority import ScriptedAuthority
from tests.agent.sealing import Holder, Node, text_draft
from tests.agent.world import NODE, delivery_key, identity, kos_for

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


@dataclass
class Site:
    """A joined node with alice enrolled, and its scripted authority."""

    authority: ScriptedAuthority
    config: Config
    state: StateDirectory
    gate: EnclaveGate
    identity: Identity
    key: CertifiedKey
    holder: Holder
    prompter: QuietPrompter = field(default_factory=QuietPrompter)
    scene: Scene = field(default_factory=lambda: Scene({name: list(line) for name, line in GENUINE.items()}))
    hues: list[str] | msgspec.UnsetType = msgspec.UNSET
    senses: Mapping[str, Modality] = field(default_factory=modalities)

    def __post_init__(self) -> None:
        self.devices = FakeDevices(self.scene)
        self.kos = kos_for(self.key)  # type: ignore[arg-type]
        self.identity = msgspec.structs.replace(self.identity, kos_public=identity(self.kos, self.key).kos_public)  # type: ignore[arg-type]
        for name in ("c1", "c2"):
            self.authority.on("POST", f"/v1/challenges/{name}/begin", lambda _, name=name: self.activation(name))
            verdict = msgspec.structs.replace(VERDICT, challenge_id=name)
            self.authority.on("POST", f"/v1/challenges/{name}/evidence", lambda _, verdict=verdict: verdict)
            self.authority.on("POST", f"/v1/challenges/{name}/failure", lambda _, verdict=verdict: verdict)
        self.authority.on("POST", "/v1/attest", lambda _: ATTESTED)
        for number in range(1, 9):
            self.authority.on("POST", f"/v1/deliveries/{number}/ack", lambda _: b"{}")

    def activation(self, challenge: str = "c1", deadline_s: float = 30.0) -> Activation:
        with self.gate.use() as enclave:
            made = self.holder.activation(enclave, self.key, challenge_id=challenge, gestures=[], deadline_s=deadline_s)
        return msgspec.structs.replace(made, flashes=self.hues)

    def daemon(self) -> Daemon:
        abort = threading.Event()
        clock = StoppableClock(abort)
        store = IdentityStore(self.state)
        connect = anonymous_connector(self.authority.url, self.config.connection)
        joining = Joining(self.config, self.devices, self.gate, store, time.time, connect)  # type: ignore[arg-type]
        link = Link(store, joining, self.config.connection)
        answerer = Answerer(
            config=self.config,
            link=link,
            devices=self.devices,  # type: ignore[arg-type]
            modalities=self.senses,
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
        desk = DeliveryDesk(self.identity, self.state, self.gate, [sink], time.time)
        return Daemon(
            answerer,
            desk,
            LogBook(self.state, lambda: LogTrust.of_ca(self.authority.ca.pem), time.time),
            time.time,
            abort,
        )

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
    [presentation]
    failure_at_s = 2
    """
    key = gate.run(delivery_key)
    tls = TlsKey.generate()
    base = identity(kos_for(key), key)
    made = msgspec.structs.replace(base, authority=authority.url, ca=authority.ca.pem)
    pem = authority.ca.node(tls.private.public_key(), NODE, **certificate)  # type: ignore[arg-type]
    stored = IdentityStore(state).commit(made, pem, tls)
    holder = Holder()
    Node(gate, state, ProfileVault(state, os.urandom), holder).enrol(
        text_draft("r1", {name: line[0] for name, line in GENUINE.items()})
    )
    site = Site(authority, parse_config(text.encode()), state, gate, stored, key, holder)
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
