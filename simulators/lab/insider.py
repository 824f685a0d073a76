"""A node in the hands of whoever has root on it: real TPM, real certificate, real profile key, and nobody present."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.client import AuthorityClient
from agent.config import load_config
from agent.identity import Identity
from agent.link import Link
from agent.node import Node
from agent.prover import quote_evidence
from hal import Enclave, GuardedKey
from protocol.codec import b64url
from protocol.digests import enrol_digest, evidence_digest
from protocol.evidence import (
    EAT_PROFILE,
    EvidenceClaims,
    commit,
    commitment_context,
    encode_token,
    merkle_root,
    replay_tag,
)
from protocol.guard import FLOOR_LABEL, PIN_LIMIT
from protocol.messages import (
    Activation,
    CertifiedGuard,
    CertifiedIndex,
    CertifiedPublic,
    EnrolFinish,
    EnrolSession,
    EnrolStart,
    EvidenceSubmission,
    ModalityModel,
    QuoteEvidence,
    SensorIdentity,
    Verdict,
)
from protocol.openings import OPENING_FORM, Opening
from protocol.tokens import parse_join_token
from simulators.devices.swtpm import Swtpm
from simulators.lab.site import LabSite, bare_config

T = TypeVar("T")
AUTH = b"authorisation of the profile key"
PIN = b"what nobody's root ever answers."
TAG_KEY = b"key of the insider's replay tags"
MODELS = [ModalityModel(modality=name, model="none", parameters="1") for name in ("fingerprint", "face")]
SENSORS = [
    SensorIdentity(kind=name, driver="none", driver_sha256="0" * 64, transport="virtual", port="0")
    for name in ("fingerprint-reader", "camera")
]


class Insider:
    """One such node; a context manager that ends its TPM. `admin` enrols without any biometrics."""

    def __init__(
        self, site: LabSite, name: str, folder: Path, sink: tuple[str, Mapping[str, object]] | None = None
    ) -> None:
        self.site, self.name, self.folder = site, name, folder
        self.admin = f"admin-of-{name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._stack = ExitStack()
        self.tpm = self._stack.enter_context(Swtpm(site.factory.manufacture(name)))
        self.config = bare_config(folder, name, site.url, self.tpm.tcti, sink)
        self.node = Node.of(load_config(self.config))
        self.counter = 0
        self.record_id = ""
        self._link: Link | None = None
        self._key: GuardedKey | None = None

    def __enter__(self) -> Insider:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._link is not None:
            self._link.close()
        self._stack.close()

    @property
    def link(self) -> Link:
        """Identity, certificate and client of a node that has joined."""
        if self._link is None:
            self._link = self.node.link()
        return self._link

    @property
    def identity(self) -> Identity:
        """The identity that it has."""
        return self.link.identity

    @property
    def client(self) -> AuthorityClient:
        """Its client of the authority."""
        return self.link.client

    def standing(self) -> dict[str, Any]:
        """What the operator sees of it."""
        return self.site.node(self.name)

    def join(self) -> Insider:
        """Become a node of the site, as `keyvigil join` does."""
        self.node.joining().join(parse_join_token(self.site.token(self.name)))
        return self

    def enrol(self) -> Insider:
        """Register a profile key of the TPM for an administrator whom nobody measured; an operator approves."""
        ticket, pin = self.site.ticket(self.admin, self.name)
        session = self.client.start_enrolment(EnrolStart(admin=self.admin, ticket=ticket, pin=pin))
        digest = enrol_digest(session.enrolment_id, session.record_id, session.nonce)
        made = self.with_enclave(lambda enclave: self._make_key(enclave, session, digest))
        self.client.finish_enrolment(
            session.enrolment_id,
            EnrolFinish(
                **made,
                modalities=MODELS,
                sensors=SENSORS,
                consent_version=session.consent_version,
                consent_sha256=hashlib.sha256(session.consent_text.encode()).hexdigest(),
                consent_at=time.time(),
            ),
        )
        self.site.operator.post(f"/v1/profiles/{session.record_id}/approve")
        self.record_id = session.record_id
        return self

    def _make_key(self, enclave: Enclave, session: EnrolSession, digest: bytes) -> dict[str, Any]:
        """A guarded key with a PIN that nobody's biometrics are behind, and the floor under approvals."""
        made = self._key = enclave.create_guarded_key(
            session.record_id, PIN, AUTH, PIN_LIMIT, session.approval_key, digest
        )
        enclave.counter(FLOOR_LABEL)
        key, index, floor = made.key, made.index, enclave.certify_counter(FLOOR_LABEL, digest)
        return {
            "profile_key": CertifiedPublic(public=key.public, attest=key.attest, signature=key.signature),
            "guard": CertifiedGuard(
                public=index.public, attest=index.attest, signature=index.signature, change_key=made.change[:65]
            ),
            "floor": CertifiedIndex(public=floor.public, attest=floor.attest, signature=floor.signature),
        }

    def begin(self) -> Activation:
        """Have a challenge issued, unless one is open, and activate it."""
        return self.client.begin(self.site.challenge(self.name), self.record_id)

    def claims(self, activation: Activation, **changes: object) -> EvidenceClaims:
        """Claims that would be accepted, with `changes`."""
        self.counter += 1
        leaves = [os.urandom(32) for _ in MODELS]
        claims = EvidenceClaims(
            eat_profile=EAT_PROFILE,
            iss=self.identity.node_id,
            eat_nonce=b64url(activation.nonce),
            challenge=activation.challenge_id,
            record=activation.record_id,
            certificate=self.link.certificate.thumbprint,
            modalities=MODELS,
            sensors=SENSORS,
            commitments=leaves,
            commitment=merkle_root(leaves),
            elapsed=0,
            quality=4,
            margin=4,
            counter=self.counter,
            agent="keyvigil/test",
        )
        return msgspec.structs.replace(claims, **changes)

    def sampled(self, activation: Activation, samples: list[bytes]) -> tuple[EvidenceClaims, list[Opening]]:
        """Claims over these features of each modality, with their replay tags, and the openings of the commitments."""
        node = self.identity.node_id
        context = commitment_context(node, activation.record_id, activation.challenge_id)
        blindings = [os.urandom(32) for _ in MODELS]
        leaves = [
            commit(blinding, context, activation.nonce, model, features)
            for blinding, model, features in zip(blindings, MODELS, samples, strict=True)
        ]
        openings = [
            Opening(
                form=OPENING_FORM,
                node_id=node,
                record_id=activation.record_id,
                challenge_id=activation.challenge_id,
                nonce=activation.nonce,
                model=model,
                features=features,
                blinding=blindings[index],
                index=index,
                leaves=leaves,
                consent_version="1",
            )
            for index, (model, features) in enumerate(zip(MODELS, samples, strict=True))
        ]
        tags = [replay_tag(TAG_KEY, model, features) for model, features in zip(MODELS, samples, strict=True)]
        return self.claims(activation, commitments=leaves, commitment=merkle_root(leaves), replay=tags), openings

    def evidence(self, claims: EvidenceClaims, quoting: Insider | None = None) -> EvidenceSubmission:
        """The claims signed by the profile key, quoted by this TPM or by another node's."""
        key = self._key
        assert key is not None
        token = encode_token(
            claims, lambda digest: self.with_enclave(lambda enclave: enclave.guarded_sign(key, PIN, AUTH, digest))
        )
        return EvidenceSubmission(token=token, quote=(quoting or self).quote(evidence_digest(token)))

    def quote(self, digest: bytes) -> QuoteEvidence:
        """This TPM's quote over `digest`."""
        selection = tuple(self.site.policy.attestation.pcr_selection)
        return quote_evidence(self.with_enclave(lambda enclave: enclave.quote(digest, selection)))

    def submit(self, evidence: EvidenceSubmission, challenge_id: str) -> Verdict:
        """What the authority says to evidence."""
        return self.client.submit_evidence(challenge_id, evidence)

    def answer(self) -> Verdict:
        """Answer a challenge as the genuine node would."""
        activation = self.begin()
        return self.submit(self.evidence(self.claims(activation)), activation.challenge_id)

    def with_enclave(self, work: Callable[[Enclave], T]) -> T:
        """What `work` makes of its enclave."""
        return self.node.gate.run(work)
