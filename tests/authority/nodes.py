"""An authority with a store and keys of its own, and nodes that have a TPM: they do what an agent does, or cheat."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import UNSET
from sqlalchemy import Connection, Row, select, update

from agent.point import uncompressed_point
from authority import challenges, enrolling, joining, scheduler
from authority.keys import FileKek
from authority.pki import CertificateAuthority
from authority.refusal import Refused
from authority.runtime import Push, Runtime
from authority.store import Store, schema
from authority.trust import Policy, default_policy
from hal import CertifiedKey, Enclave, GuardedKey, KeyUse
from protocol.codec import b64url
from protocol.digests import attest_digest, enrol_digest, evidence_digest, failure_digest, join_digest, renew_digest
from protocol.evidence import EAT_PROFILE, EvidenceClaims, encode_token, merkle_root
from protocol.guard import FLOOR_LABEL, PIN_LIMIT
from protocol.levels import Ownership
from protocol.messages import (
    PROTOCOL_VERSION,
    Activation,
    AttestSubmission,
    BeginRequest,
    CertifiedGuard,
    CertifiedIndex,
    CertifiedPublic,
    EnrolFinish,
    EnrolSession,
    EnrolStart,
    EvidenceSubmission,
    FailureSubmission,
    JoinChallenge,
    JoinProof,
    JoinRequest,
    JoinResult,
    ModalityModel,
    NonceRequest,
    QuoteEvidence,
    RenewRequest,
    SensorIdentity,
    Verdict,
)
from protocol.problems import ErrorCode
from protocol.release import ReleasedShares, challenge_release_info, enrolment_release_info, open_release

T = TypeVar("T")
SELECTION = (0, 2, 4, 7)
AUTH = b"the authorisation value of a key"
PIN = b"what somebody's root answers to!"
DELIVERY_KEY_AUTH = b""
MODALITIES = ("fingerprint", "face", "voice")
TRAITS = {"face": ("gestures",), "voice": ("spoken-digits",)}
"""What the default policy demands, and an agent as it is shipped has."""


@dataclass
class Site:
    """An authority; `clock` (POSIX seconds) stands until it is moved. The TPM makers' certificates hold for today."""

    store: Store
    ca: CertificateAuthority
    kek: FileKek
    roots: Sequence[x509.Certificate] = ()
    lab_roots: Sequence[x509.Certificate] = ()
    policy: Policy = field(default_factory=default_policy)
    clock: float = field(default_factory=lambda: float(int(time.time())))
    pushes: list[Push] = field(default_factory=list)

    @property
    def rt(self) -> Runtime:
        keys = self.ca.kos_key, self.ca.approval_key
        return Runtime(self.policy, lambda: self.clock, random_bytes, self.kek, *keys, 1)

    def run(self, action: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """`action(conn, rt, …, now)` in one transaction."""
        return self.store.run(lambda conn: action(conn, self.rt, *arguments, now=self.clock, **named))

    def read(self, action: Callable[[Connection], T]) -> T:
        return self.store.run(action)

    def refuses(self, action: Callable[..., T], *arguments: Any, **named: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            self.run(action, *arguments, **named)
        return caught.value

    def token(self, name: str = "n1", *, lab: bool = True, ttl: float = 600) -> str:
        return self.run(joining.create_join_token, name, lab=lab, ttl=ttl, ca_sha256=self.ca.ca_sha256)

    def node(self, node_id: str) -> Row[Any]:
        return self.read(lambda conn: conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one())

    def set_node(self, node_id: str, **values: Any) -> None:
        self.read(lambda conn: conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(**values)))

    def profile(self, record_id: str) -> Row[Any]:
        row = schema.profile
        return self.read(lambda conn: conn.execute(select(row).where(row.c.record_id == record_id)).one())

    def audit(self, kind: str) -> list[Row[Any]]:
        row = schema.audit
        return self.read(lambda conn: [*conn.execute(select(row).where(row.c.kind == kind).order_by(row.c.seq))])

    def alerts(self) -> list[str]:
        return self.read(lambda conn: [*conn.scalars(select(schema.alert.c.kind).order_by(schema.alert.c.id))])

    def start_join(self, request: JoinRequest) -> JoinChallenge:
        return self.run(joining.start_join, request, self.roots, self.lab_roots)

    def refuses_join(self, request: JoinRequest) -> ErrorCode:
        return self.refuses(joining.start_join, request, self.roots, self.lab_roots).code

    def finish_join(self, join_id: str, proof: JoinProof) -> JoinResult:
        result, self.pushes = self.run(joining.finish_join, self.ca, join_id, proof)
        return result

    def summon(self, node_id: str) -> str:
        """The id of an open challenge."""
        pushes: list[Push] = self.run(scheduler.challenge_now, node_id, "on-demand")
        return next(event.challenge_id for _, event in pushes if hasattr(event, "challenge_id"))


def random_bytes(count: int) -> bytes:
    return os.urandom(count)


@dataclass
class Machine:
    """A node: an enclave, a TLS key, and after enrolling a profile key."""

    name: str
    enclave: Enclave
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    transport: str = "virtual"
    node_id: str = ""
    certificate: str = ""
    certificate_pem: str = ""
    delivery_key: CertifiedKey | None = None
    record_id: str = ""
    profile_key: CertifiedKey | None = None
    guard: GuardedKey | None = None
    counter: int = 0

    def csr(self) -> bytes:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "whatever it asks for")])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.key, SHA256())
        return request.public_bytes(Encoding.DER)

    def request(self, token: str, **changes: Any) -> JoinRequest:
        endorsement = self.enclave.endorsement()
        request = JoinRequest(
            version=PROTOCOL_VERSION,
            name=self.name,
            token=token,
            ek_public=endorsement.ek_public,
            ek_certificates=list(endorsement.certificates),
            ak_public=self.enclave.attestation_key(),
            csr=self.csr(),
            devices=[sensor("enclave", driver="tpm2", transport=self.transport)],
            agent_version="1",
        )
        return msgspec.structs.replace(request, **changes)

    def quote(self, digest: bytes, selection: tuple[int, ...] = SELECTION) -> QuoteEvidence:
        quote = self.enclave.quote(digest, selection)
        return QuoteEvidence(attest=quote.attest, signature=quote.signature, pcrs=dict(quote.pcrs))

    def certified(self, use: KeyUse, digest: bytes) -> tuple[CertifiedKey, CertifiedPublic]:
        key = self.enclave.create_key(use, auth_for(use), digest)
        return key, CertifiedPublic(public=key.public, attest=key.attest, signature=key.signature)

    def prove(self, challenge: JoinChallenge, csr: bytes) -> JoinProof:
        secret = self.enclave.activate(challenge.credential_blob, challenge.encrypted_secret)
        digest = join_digest(challenge.join_id, challenge.nonce, csr)
        self.delivery_key, certified = self.certified(KeyUse.AGREE, digest)
        return JoinProof(secret=secret, quote=self.quote(digest), delivery_key=certified)

    def join(self, site: Site, *, lab: bool = True) -> JoinResult:
        request = self.request(site.token(self.name, lab=lab))
        challenge = site.start_join(request)
        result = self.adopt(site.finish_join(challenge.join_id, self.prove(challenge, request.csr)))
        # The emulator serves many sites, and has no owner; how a TPM gets one is shown in test_owning.py.
        site.set_node(self.node_id, ownership=Ownership.TAKEN.value)
        return result

    def adopt(self, result: JoinResult) -> JoinResult:
        self.node_id = result.node_id
        self.keep(result.certificate)
        return result

    def keep(self, certificate_pem: str) -> None:
        der = x509.load_pem_x509_certificate(certificate_pem.encode()).public_bytes(Encoding.DER)
        self.certificate_pem, self.certificate = certificate_pem, hashlib.sha256(der).hexdigest()

    def renewal(self, site: Site, nonce: bytes | None = None, quote: QuoteEvidence | None = None) -> RenewRequest:
        fresh = nonce or site.run(joining.issue_nonce, NonceRequest(node_id=self.node_id)).nonce
        csr = self.csr()
        quote = quote or self.quote(renew_digest(self.node_id, fresh, csr))
        return RenewRequest(node_id=self.node_id, nonce=fresh, csr=csr, quote=quote)

    def start_enrolment(self, site: Site, admin: str = "ada") -> EnrolSession:
        ticket, pin = site.run(enrolling.create_ticket, admin, self.node_id, 600)
        return site.run(enrolling.start_enrolment, self.node_id, EnrolStart(admin=admin, ticket=ticket, pin=pin))

    def guarded(self, session: EnrolSession, digest: bytes, limit: int = PIN_LIMIT) -> dict[str, Any]:
        """A profile key behind a guard, and the floor under approvals, as `EnrolFinish` has them."""
        made = self.guard = self.enclave.create_guarded_key(
            session.record_id, PIN, AUTH, limit, session.approval_key, digest
        )
        self.profile_key, index = made.key, made.index
        self.enclave.counter(FLOOR_LABEL)
        floor = self.enclave.certify_counter(FLOOR_LABEL, digest)
        return {
            "profile_key": CertifiedPublic(
                public=made.key.public, attest=made.key.attest, signature=made.key.signature
            ),
            "guard": CertifiedGuard(
                public=index.public, attest=index.attest, signature=index.signature, change_key=made.change[:65]
            ),
            "floor": CertifiedIndex(public=floor.public, attest=floor.attest, signature=floor.signature),
        }

    def key_of(self, session: EnrolSession, use: KeyUse) -> dict[str, Any]:
        """What is registered of a profile key; one for another use than signing has no guard."""
        digest = enrol_digest(session.enrolment_id, session.record_id, session.nonce)
        if use is KeyUse.SIGN:
            return self.guarded(session, digest)
        self.profile_key, certified = self.certified(use, digest)
        return {"profile_key": certified}

    def sign(self, digest: bytes) -> bytes:
        """By the profile key."""
        assert self.guard is not None
        return self.enclave.guarded_sign(self.guard, PIN, AUTH, digest)

    def shares(self, sealed: bytes, info: bytes) -> ReleasedShares:
        """What was sealed to this node's delivery key."""
        key = self.delivery_key
        assert key is not None
        recipient = uncompressed_point(key.public)
        return open_release(sealed, info, recipient, lambda peer: self.enclave.agree(key, DELIVERY_KEY_AUTH, peer))

    def first_share(self, session: EnrolSession) -> bytes:
        info = enrolment_release_info(self.node_id, session.record_id, session.enrolment_id, session.nonce)
        return self.shares(session.sealed_share, info).present

    def released(self, activation: Activation) -> ReleasedShares:
        record, challenge = activation.record_id, activation.challenge_id
        info = challenge_release_info(self.node_id, record, challenge, activation.nonce)
        return self.shares(activation.sealed_share, info)

    def enrolment(self, session: EnrolSession, *, use: KeyUse = KeyUse.SIGN, **changes: Any) -> EnrolFinish:
        self.record_id, self.counter = session.record_id, 0
        finish = EnrolFinish(
            **self.key_of(session, use),
            modalities=[model(name) for name in MODALITIES],
            sensors=[sensor(name) for name in MODALITIES],
            consent_version=session.consent_version,
            consent_sha256=hashlib.sha256(session.consent_text.encode()).hexdigest(),
            consent_at=1.0,
        )
        return msgspec.structs.replace(finish, **changes)

    def enrol(self, site: Site, admin: str = "ada") -> str:
        """An approved profile; gives its record id."""
        session = self.start_enrolment(site, admin)
        site.run(enrolling.finish_enrolment, self.node_id, session.enrolment_id, self.enrolment(session))
        site.run(enrolling.approve, session.record_id, "operator")
        return session.record_id

    def begin(self, site: Site, challenge_id: str) -> Activation:
        return site.run(challenges.begin, self.node_id, challenge_id, BeginRequest(record_id=self.record_id))

    def claims(self, activation: Activation, **changes: Any) -> EvidenceClaims:
        self.counter += 1
        leaves = [bytes([number]) * 32 for number in range(2)]
        claims = EvidenceClaims(
            eat_profile=EAT_PROFILE,
            iss=self.node_id,
            eat_nonce=b64url(activation.nonce),
            challenge=activation.challenge_id,
            record=activation.record_id,
            certificate=self.certificate,
            modalities=[model(name) for name in MODALITIES[:2]],
            sensors=[sensor(name) for name in MODALITIES[:2]],
            commitments=leaves,
            commitment=merkle_root(leaves),
            elapsed=1,
            quality=4,
            margin=4,
            counter=self.counter,
            agent="test/1",
        )
        return msgspec.structs.replace(claims, **changes)

    def evidence(self, claims: EvidenceClaims, quote: QuoteEvidence | None = None, **more: Any) -> EvidenceSubmission:
        token = encode_token(claims, self.sign)
        return EvidenceSubmission(token=token, quote=quote or self.quote(evidence_digest(token)), **more)

    def failure(self, activation: Activation) -> FailureSubmission:
        digest = failure_digest(activation.challenge_id, activation.record_id, activation.nonce)
        return FailureSubmission(quote=self.quote(digest))

    def attestation(self, nonce: bytes) -> AttestSubmission:
        return AttestSubmission(nonce=nonce, quote=self.quote(attest_digest(self.node_id, nonce)))

    def submit(self, site: Site, challenge_id: str, evidence: EvidenceSubmission) -> Verdict:
        verdict, _ = site.run(challenges.submit_evidence, self.node_id, self.certificate, challenge_id, evidence)
        return verdict


def auth_for(use: KeyUse) -> bytes:
    """A delivery key is usable by whoever may talk to the enclave."""
    return DELIVERY_KEY_AUTH if use is KeyUse.AGREE else AUTH


def model(modality: str, **changes: Any) -> ModalityModel:
    known = {"modality": modality, "model": f"{modality}-model", "parameters": "1"}
    return ModalityModel(**{**known, "traits": TRAITS.get(modality, UNSET), **changes})


def sensor(kind: str, **changes: str) -> SensorIdentity:
    known = {"kind": kind, "driver": f"{kind}-driver", "driver_sha256": "0" * 64, "transport": "virtual", "port": "1"}
    return SensorIdentity(**{**known, **changes})
