"""Joining an authority, and renewing the certificate that joining gave."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from agent import __version__
from agent.client import AuthorityClient
from agent.config import Config, ConnectionSection
from agent.devices import Devices
from agent.enclave import EnclaveGate
from agent.errors import AgentError, ConfigError
from agent.identity import (
    IDENTITY_VERSION,
    Identity,
    IdentityStore,
    StoredKey,
    TlsKey,
    check_certificate,
    load_ca,
    load_kos_key,
    pinned_context,
    unverified_context,
)
from agent.presence import presence_identity
from agent.prover import Prover, identity_key, kind_of
from hal import CertifiedKey, Deadline, Enclave, Endorsement, KeyUse
from protocol.codec import ProtocolViolation
from protocol.digests import join_digest, renew_digest
from protocol.levels import EnclaveKind
from protocol.messages import (
    PROTOCOL_VERSION,
    JoinChallenge,
    JoinProof,
    JoinRequest,
    JoinResult,
    RenewRequest,
    SensorIdentity,
)
from protocol.next_ca import vouched_ca
from protocol.tokens import JoinToken

DELIVERY_KEY_AUTH = b""
"""The delivery key is usable by whoever may talk to the enclave; what it opens is useless without this node's state."""

ConnectAnonymously = Callable[[str | None], AuthorityClient]
"""Makes a client that trusts the given CA (PEM), or nobody and everybody when `None`."""

OPEN_S = 10.0
"""To open the infrared camera, which is known by that alone."""


@dataclass(frozen=True)
class Joining:
    """What joining and renewing need; `connect` and `now` (POSIX seconds) are passed in."""

    config: Config
    devices: Devices
    gate: EnclaveGate
    store: IdentityStore
    now: Callable[[], float]
    connect: ConnectAnonymously

    def join(self, token: JoinToken, *, again: bool = False) -> Identity:
        """Register this node and store its identity.

        Raises `ConfigError` when it has one and `again` is false, `ProtocolViolation` when the authority is not the
        one that the token names, and the errors of client, enclave and storage.
        """
        if self.store.exists() and not again:
            raise ConfigError(
                "this node has already joined an authority",
                remedy="Pass --rejoin to replace its identity; profiles enrolled under the old one stop working.",
            )
        ca = self.fetch_ca(token)
        with self.connect(ca) as client:
            return self._register(client, token, ca)

    def fetch_ca(self, token: JoinToken) -> str:
        """The CA certificate in PEM, whose DER form hashes to what the token says.

        It is written anew from what was hashed: another reader of the text that came could find another CA in it.
        """
        with self.connect(None) as client:
            ca = load_ca(client.ca())
        found = hashlib.sha256(ca.public_bytes(Encoding.DER)).hexdigest()
        if not hmac.compare_digest(found, token.ca_sha256):
            raise AgentError(
                "the authority at node.authority is not the one that the token names",
                remedy="Compare node.authority with the operator's; if it is right, somebody else answers there.",
            )
        return ca.public_bytes(Encoding.PEM).decode()

    def renew(self, identity: Identity) -> Identity:
        """Replace TLS key and certificate; the enclave is the proof, so an expired certificate does not matter."""
        key = TlsKey.generate()
        csr = key.request(identity.name)
        with self.connect(identity.trusted) as client:
            identity = self._learn(client, identity)
            nonce = client.nonce(identity.node_id)
            digest = renew_digest(identity.node_id, nonce.nonce, csr)
            prover = Prover.of(identity)
            quote = self.gate.run(lambda enclave: prover.evidence(enclave, digest, nonce.pcr_selection))
            trusts = _sha256(identity.next_ca) if identity.next_ca else ""
            request = RenewRequest(node_id=identity.node_id, nonce=nonce.nonce, csr=csr, quote=quote, trusts=trusts)
            result = client.renew(request)
        issuer, certificate = _issued(result.certificate, key, identity)
        return self.store.commit(_moved_on(identity, issuer), certificate, key)

    def _learn(self, client: AuthorityClient, identity: Identity) -> Identity:
        """Trust the CA that comes next, if there is one and the present one vouches for it; kept before it is told."""
        shown = client.next_ca()
        if not shown.certificate:
            return identity
        following = vouched_ca(shown, load_ca(identity.ca)).public_bytes(Encoding.PEM).decode()
        return identity if following == identity.next_ca else self.store.trust_next(identity, following)

    def _register(self, client: AuthorityClient, token: JoinToken, ca: str) -> Identity:
        key = TlsKey.generate()
        csr = key.request(self.config.node.name)
        request, prover = self._request(token, csr)
        challenge = client.join(request)
        delivery, proof = self.gate.run(lambda enclave: prove(enclave, prover, challenge, csr))
        result = client.activate(challenge.join_id, proof)
        load_kos_key(result.kos_public)
        certificate = _certified(result.certificate, key, ca, result.node_id)
        return self.store.commit(self._identity(result, ca, challenge, delivery, prover), certificate, key)

    def _request(self, token: JoinToken, csr: bytes) -> tuple[JoinRequest, Prover]:
        sensors = [self.devices.identify(name) for name in self.devices.modalities]
        if (presence := presence_identity(self.config)) is not None:
            sensors.append(presence)
        if (display := self.devices.display()) is not None:
            sensors.append(display)
        if (infrared := self.devices.infrared(Deadline.after(OPEN_S))) is not None:
            sensors.append(infrared)
        with self.gate.use() as enclave:
            prover = self._prover(enclave)
            endorsement = enclave.endorsement() if prover.attests else Endorsement(b"")
            request = JoinRequest(
                version=PROTOCOL_VERSION,
                name=self.config.node.name,
                token=token.format(),
                ek_public=endorsement.ek_public,
                ek_certificates=list(endorsement.certificates),
                ak_public=prover.identity_key.public if prover.identity_key else enclave.attestation_key(),
                csr=csr,
                devices=[*sensors, self._enclave_identity(enclave)],
                agent_version=__version__,
                enclave_kind=prover.kind.value,
            )
            return request, prover

    def _prover(self, enclave: Enclave) -> Prover:
        """What this enclave proves by; a node that joins again keeps its identity key, and with it its id."""
        kind = kind_of(enclave)
        if kind is EnclaveKind.TPM2:
            return Prover(kind)
        before = self.store.load() if self.store.exists() else None
        known = before.identity_key if before is not None and before.enclave_kind is kind else None
        return Prover(kind, identity_key(enclave, known.certified() if known is not None else None))

    def _enclave_identity(self, enclave: Enclave) -> SensorIdentity:
        return self.devices.identity_of("enclave", enclave)

    def _identity(
        self, result: JoinResult, ca: str, challenge: JoinChallenge, delivery: CertifiedKey, prover: Prover
    ) -> Identity:
        return Identity(
            version=IDENTITY_VERSION,
            node_id=result.node_id,
            name=self.config.node.name,
            authority=self.config.node.authority,
            ca=ca,
            kos_public=result.kos_public,
            tls_file="",
            pcr_selection=challenge.pcr_selection,
            delivery_key=StoredKey.of(delivery),
            joined_at=self.now(),
            enclave_kind=prover.kind,
            identity_key=StoredKey.of(prover.identity_key) if prover.identity_key else None,
        )


def _certified(pem: str, key: TlsKey, ca: str, node_id: str) -> str:
    """The checked certificate alone, in PEM: whatever else the answer holds does not get beside the private key."""
    return check_certificate(pem, key, load_ca(ca), node_id).public_bytes(Encoding.PEM).decode()


def _issued(pem: str, key: TlsKey, identity: Identity) -> tuple[str, str]:
    """The CA (PEM) that issued a certificate, and the checked certificate; the last CA's error, if none did."""
    *others, last = identity.roots
    for ca in others:
        with contextlib.suppress(ProtocolViolation):
            return ca, _certified(pem, key, ca, identity.node_id)
    return last, _certified(pem, key, last, identity.node_id)


def _moved_on(identity: Identity, issuer: str) -> Identity:
    """The identity under the CA that issues now; the one before is not trusted any more."""
    if issuer == identity.ca:
        return identity
    origin = identity.log_trust.origin
    return msgspec.structs.replace(identity, ca=issuer, next_ca="", log_origin=origin)


def _sha256(ca: str) -> str:
    return hashlib.sha256(load_ca(ca).public_bytes(Encoding.DER)).hexdigest()


def prove(enclave: Enclave, prover: Prover, challenge: JoinChallenge, csr: bytes) -> tuple[CertifiedKey, JoinProof]:
    """The delivery key, and the proof that AK, delivery key and TLS key belong to the EK's enclave.

    Without an EK: that delivery key and TLS key belong to the identity key.
    """
    secret = enclave.activate(challenge.credential_blob, challenge.encrypted_secret) if prover.attests else b""
    digest = join_digest(challenge.join_id, challenge.nonce, csr)
    delivery = enclave.create_key(KeyUse.AGREE, DELIVERY_KEY_AUTH, digest)
    evidence = prover.evidence(enclave, digest, challenge.pcr_selection)
    certified = prover.key(enclave, delivery, KeyUse.AGREE, digest)
    return delivery, JoinProof(secret=secret, quote=evidence, delivery_key=certified)


def anonymous_connector(authority: str, settings: ConnectionSection) -> ConnectAnonymously:
    """Clients without a certificate towards `authority`."""

    def connect(ca: str | None) -> AuthorityClient:
        context = unverified_context() if ca is None else pinned_context(ca)
        return AuthorityClient(authority, context, settings.timeout_s, settings.proxy)

    return connect
