"""A node whose enclave attests to nothing: it makes statements where a TPM quotes and certifies, or cheats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from hal import CertifiedKey, KeyUse
from protocol.digests import enrol_digest, join_digest
from protocol.levels import EnclaveKind
from protocol.messages import (
    PROTOCOL_VERSION,
    CertifiedPublic,
    EnrolSession,
    JoinChallenge,
    JoinProof,
    JoinRequest,
    QuoteEvidence,
)
from protocol.statements import evidence_digest, evidence_marker, key_digest, key_marker
from tests.authority.nodes import AUTH, Machine, auth_for, sensor


@dataclass
class StatementMachine(Machine):
    """`kind` is what it calls its enclave; `identity` is made at the first use."""

    kind: EnclaveKind = EnclaveKind.SOFTWARE
    transport: str = "software"
    identity: CertifiedKey | None = None

    @property
    def identity_key(self) -> CertifiedKey:
        if self.identity is None:
            self.identity = self.enclave.create_key(KeyUse.SIGN, b"", bytes(32))
        return self.identity

    def request(self, token: str, **changes: Any) -> JoinRequest:
        request = JoinRequest(
            version=PROTOCOL_VERSION,
            name=self.name,
            token=token,
            ek_public=b"",
            ek_certificates=[],
            ak_public=self.identity_key.public,
            csr=self.csr(),
            devices=[sensor("enclave", driver=self.kind.value, transport=self.transport)],
            agent_version="1",
            enclave_kind=self.kind.value,
        )
        return msgspec.structs.replace(request, **changes)

    def quote(self, digest: bytes, selection: tuple[int, ...] = ()) -> QuoteEvidence:
        signature = self.enclave.sign(self.identity_key, b"", evidence_digest(self.kind, digest))
        return QuoteEvidence(attest=evidence_marker(self.kind), signature=signature, pcrs={})

    def certified(self, use: KeyUse, digest: bytes) -> tuple[CertifiedKey, CertifiedPublic]:
        key = self.enclave.create_key(use, auth_for(use), digest)
        signature = self.enclave.sign(self.identity_key, b"", key_digest(self.kind, use.value, key.public, digest))
        return key, CertifiedPublic(public=key.public, attest=key_marker(self.kind, use.value), signature=signature)

    def key_of(self, session: EnrolSession, use: KeyUse) -> dict[str, Any]:
        self.profile_key, certified = self.certified(
            use, enrol_digest(session.enrolment_id, session.record_id, session.nonce)
        )
        return {"profile_key": certified}

    def sign(self, digest: bytes) -> bytes:
        assert self.profile_key is not None
        return self.enclave.sign(self.profile_key, AUTH, digest)

    def prove(self, challenge: JoinChallenge, csr: bytes) -> JoinProof:
        digest = join_digest(challenge.join_id, challenge.nonce, csr)
        self.delivery_key, certified = self.certified(KeyUse.AGREE, digest)
        return JoinProof(secret=b"", quote=self.quote(digest), delivery_key=certified)
