"""Joining, and renewing the certificate."""

from __future__ import annotations

from typing import Annotated

import msgspec

from protocol.bounds import Instant, Word
from protocol.levels import EnclaveKind
from protocol.messages._base import CertifiedPublic, Message, QuoteEvidence, SensorIdentity


class JoinRequest(Message, frozen=True, omit_defaults=True):
    """POST /v1/join: a node asks to be registered under `name`; `csr` is DER (PKCS #10).

    A node whose `enclave_kind` is no TPM has no EK and no AK: `ek_public` and `ek_certificates` are empty, and
    `ak_public` is the point (65 bytes) of its identity key, which makes statements (`protocol.statements`).
    """

    version: int
    name: str
    token: str = msgspec.field()
    ek_public: bytes
    ek_certificates: list[bytes]
    ak_public: bytes
    csr: bytes
    devices: list[SensorIdentity]
    agent_version: str
    enclave_kind: Word = EnclaveKind.TPM2.value

    def __repr__(self) -> str:
        return f"JoinRequest(name={self.name!r})"


class JoinChallenge(Message, frozen=True):
    """MakeCredential output (TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET; empty without an EK), a nonce to quote over."""

    join_id: str
    credential_blob: bytes
    encrypted_secret: bytes
    nonce: bytes
    pcr_selection: list[int]


class JoinProof(Message, frozen=True):
    """POST /v1/join/{join_id}/activate. Quote and certification carry `join_digest`; no `secret` without an EK."""

    secret: bytes
    quote: QuoteEvidence
    delivery_key: CertifiedPublic

    def __repr__(self) -> str:
        return "JoinProof()"


class JoinResult(Message, frozen=True):
    """The node's identity: certificates in PEM, the Key Orchestration Service's verification key as DER SPKI."""

    node_id: str
    certificate: str
    ca: str
    kos_public: bytes


class NonceRequest(Message, frozen=True):
    """POST /v1/nonces: a nonce for a renewal."""

    node_id: str


class Nonce(Message, frozen=True):
    """32 bytes, good once and for a short time."""

    nonce: bytes
    pcr_selection: list[int]
    expires_at: Instant


class RenewRequest(Message, frozen=True, omit_defaults=True):
    """POST /v1/renew: a new client certificate; the quote carries `renew_digest`.

    `trusts` is the SHA-256 (hexadecimal) of the next CA that the node trusts already; empty for none.
    """

    node_id: str
    nonce: bytes
    csr: bytes
    quote: QuoteEvidence
    trusts: Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{64})?\Z")] = ""


class NextCa(Message, frozen=True):
    """GET /v1/ca/next: the CA that comes next and the present one's voucher for it, in PEM; empty where none does."""

    certificate: str
    voucher: str


class RenewResult(Message, frozen=True):
    """The renewed certificate chain in PEM."""

    certificate: str
