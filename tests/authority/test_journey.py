"""One node's whole way over TLS: joined, enrolled, summoned, accepted, and given its keys."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from websockets.sync.client import ClientConnection, connect

from authority import enrolling, scheduler
from authority.keys import networks
from authority.planes import Hub, create_node_app, node_server
from authority.tpm import public_key
from protocol.codec import decode, encode
from protocol.delivery import Envelope, KeyBundle, SealedDelivery, delivery_info
from protocol.hpke import open_sealed
from protocol.levels import ResourceClass, Tier
from protocol.messages import (
    Activation,
    BeginRequest,
    DeliveryAck,
    DeliveryEvent,
    EnrolResult,
    EnrolSession,
    EnrolStart,
    Event,
    JoinChallenge,
    JoinResult,
    Nonce,
    NonceRequest,
    Outcome,
    RenewResult,
    StatusEvent,
    Summons,
    Verdict,
)
from tests.authority.nodes import DELIVERY_KEY_AUTH, Machine, Site
from tests.authority.planes.plane import HOST, PATIENCE_S, Listening, listening

T = TypeVar("T")


class Wire:
    """A machine's connections to the plane, with the certificate that it has at the time."""

    def __init__(self, site: Site, machine: Machine, hub: Hub, running: Listening, folder: Path) -> None:
        self.site, self.machine, self.hub, self.running, self.folder = site, machine, hub, running, folder

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.site.ca.ca_file))
        if self.machine.certificate_pem:
            file = self.folder / "tls.pem"
            key = self.machine.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            file.write_bytes(self.machine.certificate_pem.encode() + key)
            context.load_cert_chain(file)
        return context

    def send(self, method: str, path: str, message: object, kind: type[T]) -> T:
        with httpx.Client(verify=self.context(), trust_env=False, timeout=PATIENCE_S) as http:
            response = http.request(method, f"https://{HOST}:{self.running.server.port}{path}", content=encode(message))
        assert response.status_code == 200, response.text
        return decode(response.content, kind)

    def events(self) -> ClientConnection:
        url = f"wss://{HOST}:{self.running.server.port}/v1/events"
        return connect(url, ssl=self.context(), proxy=None, open_timeout=PATIENCE_S)

    def join(self) -> None:
        request = self.machine.request(self.site.token())
        challenge = self.send("POST", "/v1/join", request, JoinChallenge)
        proof = self.machine.prove(challenge, request.csr)
        self.machine.adopt(self.send("POST", f"/v1/join/{challenge.join_id}/activate", proof, JoinResult))

    def enrol(self) -> None:
        ticket, pin = self.site.run(enrolling.create_ticket, "ada", self.machine.node_id, 600)
        session = self.send("POST", "/v1/enrolments", EnrolStart(admin="ada", ticket=ticket, pin=pin), EnrolSession)
        path, finish = f"/v1/enrolments/{session.enrolment_id}", self.machine.enrolment(session)
        assert self.send("PUT", path, finish, EnrolResult).state == "pending"
        self.site.run(enrolling.approve, session.record_id, "operator")

    def renew(self) -> None:
        nonce = self.send("POST", "/v1/nonces", NonceRequest(node_id=self.machine.node_id), Nonce).nonce
        self.machine.keep(
            self.send("POST", "/v1/renew", self.machine.renewal(self.site, nonce), RenewResult).certificate
        )

    def open(self, event: DeliveryEvent) -> KeyBundle:
        sealed = decode(decode(event.envelope, Envelope).payload, SealedDelivery)
        key = self.machine.delivery_key
        assert key is not None
        info = delivery_info(sealed.node_id, sealed.network, sealed.generation, sealed.number)
        point = public_key(key.public).public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

        def agree(peer: bytes) -> bytes:
            return self.machine.enclave.agree(key, DELIVERY_KEY_AUTH, peer)

        return decode(open_sealed(sealed.enc, sealed.ciphertext, info, point, agree), KeyBundle)


@pytest.fixture
def wire(site: Site, machine: Machine, tmp_path: Path) -> Iterator[Wire]:
    hub = Hub()
    app = create_node_app(site.store, site.rt, site.ca, site.roots, site.lab_roots, hub)
    with listening(node_server(app, site.ca, HOST, 0)) as running:
        yield Wire(site, machine, hub, running, tmp_path)


def receive(socket: ClientConnection, kind: type[T]) -> T:
    """The next event of a kind."""
    while True:
        event = decode(socket.recv(PATIENCE_S), Event)
        if isinstance(event, kind):
            return event


def test_from_a_token_to_network_keys(site: Site, machine: Machine, wire: Wire):
    wire.join()
    wire.enrol()
    site.run(networks.create_network, "net")
    site.run(networks.add_member, "net", machine.node_id, "10.0.0.1", ResourceClass.NORMAL)
    wire.renew()
    with wire.events() as socket:
        assert receive(socket, StatusEvent).state == "pending"
        pushes = site.run(scheduler.challenge_now, machine.node_id, "on-demand")
        wire.running.call(lambda: wire.hub.push(pushes))
        summons = receive(socket, Summons)
        path = f"/v1/challenges/{summons.challenge_id}"
        begin = BeginRequest(record_id=summons.roster[0].record_id)
        activation = wire.send("POST", f"{path}/begin", begin, Activation)
        site.clock += 8
        evidence = machine.evidence(machine.claims(activation))
        verdict = wire.send("POST", f"{path}/evidence", evidence, Verdict)
        assert (verdict.outcome, verdict.tier) == (Outcome.ACCEPTED, Tier.MEDIUM)
        assert wire.send("POST", f"{path}/evidence", evidence, Verdict) == verdict
        assert receive(socket, StatusEvent).state == "active"
        delivery = receive(socket, DeliveryEvent)
    bundle = wire.open(delivery)
    assert (bundle.network, bundle.tier, bundle.version) == ("net", Tier.MEDIUM, 2)
    path = f"/v1/deliveries/{delivery.number}/ack"
    assert wire.send("POST", path, DeliveryAck(installed=True, sinks=["file"]), dict) == {}
    with wire.events() as socket:
        standing = receive(socket, StatusEvent)
        wire.running.call(lambda: wire.hub.push([(machine.node_id, standing)]))
        assert decode(socket.recv(PATIENCE_S), Event) == standing, "an installed delivery came again"


def test_what_was_told_while_a_node_was_away_reaches_it_when_it_connects(site: Site, machine: Machine, wire: Wire):
    wire.join()
    wire.enrol()
    challenge_id = site.summon(machine.node_id)
    with wire.events() as socket:
        assert receive(socket, Summons).challenge_id == challenge_id


def test_the_certificate_that_a_token_pins_is_the_one_that_is_served(site: Site, wire: Wire):
    with httpx.Client(verify=wire.context(), trust_env=False) as http:
        pem = http.get(f"https://{HOST}:{wire.running.server.port}/v1/ca").text
    der = ssl.PEM_cert_to_DER_cert(pem)
    assert hashlib.sha256(der).hexdigest() == site.token().rpartition(".")[2] == site.ca.ca_sha256
