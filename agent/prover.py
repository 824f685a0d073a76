"""How a node proves things to its authority: by its TPM's attestations, or by statements of its identity key."""

from __future__ import annotations

from dataclasses import dataclass

from agent.enclave import pcr_selection
from agent.errors import ConfigError
from agent.identity import Identity
from hal import Attestation, AuthorisationFailed, Capability, CertifiedKey, Enclave, KeyUse, PcrSelection, Unsupported
from protocol.levels import EnclaveKind
from protocol.messages import CertifiedPublic, QuoteEvidence
from protocol.statements import evidence_digest, evidence_marker, key_digest, key_marker

IDENTITY_KEY_AUTH = b""
"""The identity key is usable by whoever may talk to the enclave, as a TPM's AK is."""

_NEEDED = frozenset({Capability.SIGN, Capability.AGREE, Capability.SEAL})


@dataclass(frozen=True)
class Prover:
    """The proofs of one kind of enclave. `identity_key` is there unless the kind attests by itself."""

    kind: EnclaveKind
    identity_key: CertifiedKey | None = None

    @classmethod
    def of(cls, identity: Identity) -> Prover:
        """The proofs that the authority expects of this node."""
        key = identity.identity_key
        return cls(identity.enclave_kind, key.certified() if key is not None else None)

    @property
    def attests(self) -> bool:
        """Whether the enclave's own attestation is the proof."""
        return self.kind is EnclaveKind.TPM2

    def selection(self, indices: list[int]) -> PcrSelection:
        """The PCRs that the authority asks for; none where there are none. Raises `ProtocolViolation`."""
        return pcr_selection(indices) if self.attests else ()

    def evidence(self, enclave: Enclave, digest: bytes, indices: list[int]) -> QuoteEvidence:
        """A quote over `digest` (32 bytes) and the PCRs `indices`, or a statement over it."""
        self.check(enclave)
        if self.attests:
            return quote_evidence(enclave.quote(digest, self.selection(indices)))
        signature = self._sign(enclave, evidence_digest(self.kind, digest))
        return QuoteEvidence(attest=evidence_marker(self.kind), signature=signature, pcrs={})

    def key(self, enclave: Enclave, key: CertifiedKey, use: KeyUse, digest: bytes) -> CertifiedPublic:
        """A key that was made over `digest` (32 bytes) with its certification, or with a statement."""
        self.check(enclave)
        if self.attests:
            return CertifiedPublic(public=key.public, attest=key.attest, signature=key.signature)
        signature = self._sign(enclave, key_digest(self.kind, use.value, key.public, digest))
        return CertifiedPublic(public=key.public, attest=key_marker(self.kind, use.value), signature=signature)

    def check(self, enclave: Enclave) -> None:
        """Raise `ConfigError` when the configured enclave is not of the kind that this node joined with."""
        if enclave.kind.value != self.kind.value:
            raise ConfigError(
                f"this node joined with an enclave of kind {self.kind.value}, not {enclave.kind.value}",
                remedy="Configure that enclave again, or join under another name that an operator gives.",
            )

    def _sign(self, enclave: Enclave, digest: bytes) -> bytes:
        if self.identity_key is None:
            raise ConfigError("the identity of this node has no identity key", remedy="Join again with --rejoin.")
        return enclave.sign(self.identity_key, IDENTITY_KEY_AUTH, digest)


def kind_of(enclave: Enclave) -> EnclaveKind:
    """The kind with which a node may join; raises `Unsupported` for an enclave that keeps no keys."""
    missing = sorted(_NEEDED - enclave.info.capabilities) if enclave.kind.value != EnclaveKind.TPM2.value else []
    if missing or enclave.kind.value not in {kind.value for kind in EnclaveKind}:
        raise Unsupported(
            f"a node cannot join with an enclave of kind {enclave.kind.value}: it lacks {', '.join(missing) or 'keys'}",
            remedy="Configure a TPM, a PKCS#11 token or a software enclave under [devices.enclave].",
        )
    return EnclaveKind(enclave.kind.value)


def identity_key(enclave: Enclave, known: CertifiedKey | None) -> CertifiedKey:
    """The identity key that this node had before, if this enclave still uses it, or a new one."""
    if known is not None and _usable(enclave, known):
        return known
    return enclave.create_key(KeyUse.SIGN, IDENTITY_KEY_AUTH, bytes(32))


def _usable(enclave: Enclave, key: CertifiedKey) -> bool:
    try:
        enclave.sign(key, IDENTITY_KEY_AUTH, bytes(32))
    except AuthorisationFailed:
        return False
    return True


def quote_evidence(quote: Attestation) -> QuoteEvidence:
    """The wire form of a quote."""
    return QuoteEvidence(attest=quote.attest, signature=quote.signature, pcrs=dict(quote.pcrs))
