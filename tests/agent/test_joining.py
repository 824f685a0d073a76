from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from agent.config import Config, ConnectionSection, parse_config
from agent.enclave import EnclaveGate
from agent.errors import AgentError, AuthorityRefused, ConfigError, NotJoined
from agent.identity import Identity, IdentityStore, TlsKey, check_certificate
from agent.joining import Joining, anonymous_connector
from agent.link import Link
from agent.state import StateDirectory
from authority.tpm import CertifiedUse, make_credential, node_id, verify_certify, verify_quote
from authority.tpm import name as tpm_name
from hal import AuthorisationFailed, Busy, Deadline, Device, available_drivers
from protocol.codec import ProtocolViolation, decode
from protocol.digests import join_digest, renew_digest
from protocol.messages import (
    JoinChallenge,
    JoinProof,
    JoinRequest,
    JoinResult,
    Nonce,
    RenewRequest,
    RenewResult,
    SensorIdentity,
)
from protocol.problems import ErrorCode
from protocol.tokens import JoinToken
from simulators.devices.dbus import PrivateBus
from simulators.devices.logind_service import LogindService
from tests.agent.people import LAMP
from tests.agent.scripted_authority import Refusal, ScriptedAuthority, TestCa, served
from tests.agent.world import SELECTION, Tpm, spki

SENSOR = SensorIdentity(kind="camera", driver="opencv", driver_sha256="1" * 64, transport="v4l2", port="video0")


class OneCamera:
    """Devices of a node with a camera and an enclave."""

    modalities = ["face"]  # noqa: RUF012

    lamp: SensorIdentity | None = None

    def identify(self, name: str) -> SensorIdentity:
        return SENSOR

    def display(self) -> SensorIdentity | None:
        return self.lamp

    second: SensorIdentity | None = None

    def infrared(self, deadline: Deadline) -> SensorIdentity | None:
        deadline.check("opening")
        return self.second

    def identity_of(self, name: str, device: Device) -> SensorIdentity:
        return msgspec.structs.replace(SENSOR, kind="enclave", driver="tpm2", port=device.info.port)


@dataclass
class Registrar:
    """The authority's half of joining, over a real MakeCredential and real verification."""

    authority: ScriptedAuthority
    request: JoinRequest | None = None
    secret: bytes = b""
    nonce: bytes = b"N" * 32
    beside: str = ""
    certified_for: str = ""
    kos_public: bytes = spki(ec.generate_private_key(ec.SECP256R1()).public_key())

    def __post_init__(self) -> None:
        self.authority.on("POST", "/v1/join", self.join)
        self.authority.on("POST", "/v1/join/j1/activate", self.activate)
        self.authority.on(
            "POST", "/v1/nonces", lambda _: Nonce(nonce=self.nonce, pcr_selection=SELECTION, expires_at=9e9)
        )
        self.authority.on("POST", "/v1/renew", self.renew)

    @property
    def token(self) -> JoinToken:
        return JoinToken(
            b"t" * 32, hashlib.sha256(self.authority.ca.certificate.public_bytes(Encoding.DER)).hexdigest()
        )

    def join(self, body: bytes) -> JoinChallenge:
        self.request = decode(body, JoinRequest)
        self.secret = os.urandom(32)
        made = make_credential(self.request.ek_public, tpm_name(self.request.ak_public), self.secret, os.urandom)
        return JoinChallenge(
            join_id="j1",
            credential_blob=made.blob,
            encrypted_secret=made.encrypted_secret,
            nonce=self.nonce,
            pcr_selection=SELECTION,
        )

    def activate(self, body: bytes) -> JoinResult:
        proof, request = decode(body, JoinProof), self.request
        assert request is not None
        assert proof.secret == self.secret
        digest = join_digest("j1", self.nonce, request.csr)
        quote, key = proof.quote, proof.delivery_key
        verify_quote(quote.attest, quote.signature, request.ak_public, digest, SELECTION, quote.pcrs)
        verify_certify(key.attest, key.signature, request.ak_public, digest, key.public, CertifiedUse.AGREE)
        return JoinResult(
            node_id=node_id(request.ek_public),
            certificate=self._certify(request.csr),
            ca=self.authority.ca.pem,
            kos_public=self.kos_public,
        )

    def renew(self, body: bytes) -> RenewResult:
        request = decode(body, RenewRequest)
        assert self.request is not None
        digest = renew_digest(request.node_id, self.nonce, request.csr)
        quote = request.quote
        verify_quote(quote.attest, quote.signature, self.request.ak_public, digest, SELECTION, quote.pcrs)
        return RenewResult(certificate=self._certify(request.csr))

    def _certify(self, csr: bytes) -> str:
        assert self.request is not None
        public = x509.load_der_x509_csr(csr).public_key()
        certificate = self.authority.ca.node(public, self.certified_for or node_id(self.request.ek_public))
        return certificate + self.beside


@dataclass
class World:
    registrar: Registrar
    joining: Joining
    store: IdentityStore
    state: StateDirectory


def configuration(url: str, state: StateDirectory) -> Config:
    text = f"""
    [node]
    name = "node-a"
    state_dir = "{state.root}"
    authority = "{url}"
    [devices.enclave]
    driver = "tpm2"
    sha256 = "{"0" * 64}"
    """
    return parse_config(text.encode())


@pytest.fixture
def world(tmp_path: Path, state: StateDirectory, gate: EnclaveGate) -> Iterator[World]:
    with served(tmp_path) as authority:
        store = IdentityStore(state)
        config = configuration(authority.url, state)
        joining = Joining(
            config,
            OneCamera(),
            gate,
            store,
            lambda: 5.0,
            anonymous_connector(authority.url, ConnectionSection(timeout_s=5.0)),
        )
        yield World(Registrar(authority), joining, store, state)


def test_joining_proves_the_tpm_and_stores_a_working_identity(world: World) -> None:
    identity = world.joining.join(world.registrar.token)
    assert world.store.load() == identity
    request = world.registrar.request
    assert request is not None
    assert identity.node_id == node_id(request.ek_public)
    assert [device.kind for device in request.devices] == ["camera", "enclave"]
    assert len(request.ek_certificates) >= 1
    world.store.tls_context(identity)
    assert world.store.certificate(identity).not_after > 0


def test_a_presence_sensor_is_named_among_the_devices(world: World) -> None:
    with PrivateBus() as bus, LogindService(bus):
        options = f'options = {{ bus = "{bus.address}" }}'
        section = (
            f'[presence]\ndriver = "logind-seat"\nsha256 = "{available_drivers()["logind-seat"].sha256}"\n{options}'
        )
        text = f'[node]\nname = "node-a"\nstate_dir = "/x"\nauthority = "{world.registrar.authority.url}"\n{section}'
        enclave = f'[devices.enclave]\ndriver = "tpm2"\nsha256 = "{"0" * 64}"'
        config = parse_config(f"{text}\n{enclave}".encode())
        replace(world.joining, config=config).join(world.registrar.token)
    request = world.registrar.request
    assert request is not None
    assert [(device.kind, device.transport) for device in request.devices][1] == ("presence", "virtual")


def test_a_screen_is_named_among_the_devices(world: World) -> None:
    devices = OneCamera()
    devices.lamp = LAMP
    replace(world.joining, devices=devices).join(world.registrar.token)
    request = world.registrar.request
    assert request is not None
    assert [device.kind for device in request.devices] == ["camera", "display", "enclave"]


def test_an_infrared_camera_is_named_among_the_devices(world: World) -> None:
    devices = OneCamera()
    devices.second = msgspec.structs.replace(SENSOR, port="video2")
    replace(world.joining, devices=devices).join(world.registrar.token)
    request = world.registrar.request
    assert request is not None
    assert [device.kind for device in request.devices] == ["camera", "camera", "enclave"]
    assert [device.port for device in request.devices][:2] == ["video0", "video2"]


def test_every_file_of_the_identity_is_private(world: World) -> None:
    world.joining.join(world.registrar.token)
    for path in world.state.root.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, path


def test_the_token_is_not_sent_to_an_authority_that_it_does_not_name(world: World) -> None:
    with pytest.raises(AgentError, match="not the one that the token names"):
        world.joining.join(JoinToken(b"t" * 32, "0" * 64))
    assert [path for _, path, _ in world.registrar.authority.requests] == ["/v1/ca"]
    assert not world.store.exists()


def test_a_second_join_needs_to_be_meant(world: World) -> None:
    first = world.joining.join(world.registrar.token)
    with pytest.raises(ConfigError, match="already joined"):
        world.joining.join(world.registrar.token)
    assert world.store.load() == first
    second = world.joining.join(world.registrar.token, again=True)
    assert second.tls_file != first.tls_file
    assert len(list(world.state.root.glob("tls-*.pem"))) == 1


def test_a_refused_join_leaves_nothing_behind(world: World) -> None:
    def refuse(_: bytes) -> object:
        raise Refusal(403, ErrorCode.TOKEN_INVALID, "used before")

    world.registrar.authority.on("POST", "/v1/join", refuse)
    with pytest.raises(AuthorityRefused, match="used before"):
        world.joining.join(world.registrar.token)
    with pytest.raises(NotJoined):
        world.store.load()
    assert not list(world.state.root.glob("tls-*"))


def test_a_credential_for_another_tpm_is_not_answered(world: World, other_tpm: Tpm) -> None:
    with other_tpm.open() as enclave:
        foreign = enclave.endorsement().ek_public

    def join(body: bytes) -> JoinChallenge:
        request = msgspec.structs.replace(decode(body, JoinRequest), ek_public=foreign)
        return world.registrar.join(msgspec.json.encode(request))

    world.registrar.authority.on("POST", "/v1/join", join)
    with pytest.raises(AuthorisationFailed):
        world.joining.join(world.registrar.token)
    assert not world.store.exists()


def test_a_certificate_for_another_node_is_not_stored(world: World) -> None:
    world.registrar.certified_for = "cd" * 32
    with pytest.raises(ProtocolViolation, match="another node"):
        world.joining.join(world.registrar.token)
    assert not world.store.exists()


def test_a_certificate_of_another_ca_is_not_stored(world: World) -> None:
    world.registrar._certify = lambda csr: TestCa().node(x509.load_der_x509_csr(csr).public_key(), "ab")  # type: ignore[method-assign]
    with pytest.raises(ProtocolViolation, match="not one of its CA"):
        world.joining.join(world.registrar.token)


@pytest.mark.parametrize("selection", [[], [3, 1], [24], [1, 1], [-1]])
def test_a_crooked_pcr_selection_is_refused(world: World, selection: list[int]) -> None:
    def join(body: bytes) -> JoinChallenge:
        return msgspec.structs.replace(world.registrar.join(body), pcr_selection=selection)

    world.registrar.authority.on("POST", "/v1/join", join)
    with pytest.raises(ProtocolViolation, match="PCRs"):
        world.joining.join(world.registrar.token)


def test_renewing_replaces_key_and_certificate_and_nothing_else(world: World) -> None:
    before = world.joining.join(world.registrar.token)
    (world.state.root / ".tls-crashed.pem.new").write_bytes(b"a private key that a crash left")
    after = world.joining.renew(before)
    assert not list(world.state.root.glob(".*.new"))
    assert world.store.load() == after
    assert msgspec.structs.replace(after, tls_file=before.tls_file) == before
    assert [path.name for path in world.state.root.glob("tls-*.pem")] == [after.tls_file]


def test_a_renewal_that_fails_keeps_the_old_certificate(world: World) -> None:
    before = world.joining.join(world.registrar.token)
    world.registrar.certified_for = "cd" * 32
    with pytest.raises(ProtocolViolation):
        world.joining.renew(before)
    assert world.store.load() == before
    world.store.tls_context(before)


def test_an_identity_of_another_version_is_refused(world: World) -> None:
    world.joining.join(world.registrar.token)
    content = json.loads(world.state.identity.read_bytes()) | {"version": 99}
    world.state.identity.write_text(json.dumps(content))
    with pytest.raises(AgentError, match="another version"):
        world.store.load()


def test_the_certificate_is_renewed_at_two_thirds_of_its_life(world: World) -> None:
    certificate = world.store.certificate(world.joining.join(world.registrar.token))
    life = certificate.not_after - certificate.not_before
    assert certificate.renew_at(0.0) == pytest.approx(certificate.not_before + life * 2 / 3)
    assert certificate.not_before < certificate.renew_at(-1.0) < certificate.renew_at(1.0) < certificate.not_after


def test_no_secret_shows_in_the_identity(world: World) -> None:
    identity = world.joining.join(world.registrar.token)
    assert isinstance(identity, Identity)
    assert "private" not in repr(identity)
    assert "t" * 32 not in repr(world.registrar.request)


def test_what_came_beside_the_hashed_ca_is_not_trusted(world: World) -> None:
    """The text comes over an unverified connection: TLS reads it with another parser than the one that hashed it."""
    pem = world.registrar.authority.ca.pem
    padded = f"subject: anybody\n{pem}\n-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n"
    world.registrar.authority.on("GET", "/v1/ca", lambda _: padded.encode())
    assert world.joining.join(world.registrar.token).ca == pem


def test_two_authorities_in_one_text_are_refused(world: World) -> None:
    pem = world.registrar.authority.ca.pem
    for text in (pem + TestCa().pem, TestCa().pem + pem, ""):
        world.registrar.authority.on("GET", "/v1/ca", lambda _, text=text: text.encode())
        with pytest.raises(ProtocolViolation, match="one PEM certificate"):
            world.joining.join(world.registrar.token)


def test_a_private_key_that_came_with_the_certificate_is_not_used(world: World) -> None:
    """TLS takes the first private key of the file, and that would be the authority's."""
    world.registrar.beside = TlsKey.generate().pem().decode()
    identity = world.joining.join(world.registrar.token)
    world.store.tls_context(identity)
    assert world.store.tls_path(identity).read_text().count("PRIVATE KEY") == 2
    world.store.tls_context(world.joining.renew(identity))


@pytest.mark.parametrize("crooked", [b"", b"junk", spki(ec.generate_private_key(ec.SECP384R1()).public_key())])
def test_a_service_key_that_is_no_p256_key_is_refused_at_joining(world: World, crooked: bytes) -> None:
    world.registrar.kos_public = crooked
    with pytest.raises(ProtocolViolation, match="Key Orchestration Service"):
        world.joining.join(world.registrar.token)
    assert not world.store.exists()


def test_a_certificate_that_the_library_chokes_on_is_a_violation(world: World) -> None:
    """Two extensions of one kind raise an exception that is no ValueError."""
    key = TlsKey.generate()
    ca = world.registrar.authority.ca
    good = x509.load_pem_x509_certificate(ca.node(key.private.public_key(), "ab" * 32).encode())
    extension = good.extensions.get_extension_for_class(x509.BasicConstraints)
    names = good.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    builder = x509.CertificateBuilder().subject_name(good.subject).issuer_name(good.issuer).serial_number(7)
    builder = builder.public_key(key.private.public_key()).not_valid_before(good.not_valid_before_utc)
    builder = builder.not_valid_after(good.not_valid_after_utc)
    builder._extensions = [extension, names, names]
    doubled = builder.sign(ca.key, SHA256()).public_bytes(Encoding.PEM).decode()
    with pytest.raises(ProtocolViolation, match="not one of its CA"):
        check_certificate(doubled, key, ca.certificate, "ab" * 32)


def test_two_processes_that_renew_at_once_end_with_one_certificate(world: World) -> None:
    """Each removes the files that the other wrote: the loser takes the winner's certificate instead."""
    world.joining.join(world.registrar.token)
    one, other = (Link(world.store, world.joining, ConnectionSection(timeout_s=5.0)) for _ in range(2))
    one.renew()
    other.renew()
    assert other.certificate == one.certificate
    assert len(world.registrar.authority.seen("/v1/renew")) == 1
    for link in (one, other):
        link.context()
        link.close()


def test_the_certificate_is_renewed_by_one_process_at_a_time(world: World) -> None:
    world.joining.join(world.registrar.token)
    with world.store.exclusive(), pytest.raises(Busy), world.state.identity_lock(Deadline.after(0)):
        pass
