"""What crosses the node plane. Field order is documentation only; bytes to sign come from `protocol.codec`.

Requests refuse unknown fields. `bytes` are base64 in JSON. Times are POSIX seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from protocol.bounds import Identifier, Instant, Milli, Number, Span, Word
from protocol.checkpoint import LONGEST_NOTE
from protocol.levels import Access, EnclaveKind, Rotation, Tier
from protocol.merkle import MOST_PROOF_HASHES

PROTOCOL_VERSION = 1
LARGEST_ROSTER = 1000
MOST_GESTURES = 16
MOST_TRAITS = 8
MOST_MEASURED = 64
LONGEST_EVENT_LOG = 512 * 1024


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every message."""


class QuoteEvidence(Message, frozen=True):
    """TPMS_ATTEST (quote), TPMT_SIGNATURE, and the SHA-256 PCR values that the quote covers; or a statement."""

    attest: bytes
    signature: bytes
    pcrs: dict[int, bytes]


class CertifiedPublic(Message, frozen=True):
    """A public area (TPM2B_PUBLIC, TPM2B_NV_PUBLIC) and the AK's certification; or a point and a statement."""

    public: bytes
    attest: bytes
    signature: bytes


class SensorIdentity(Message, frozen=True):
    """Who and where a device is; pinned at enrolment, carried in evidence.

    `strength` is there only for a device that compares by itself and says yes or no: weak evidence. Left out, it leaves
    the bytes of every other device as they were before there were such devices.
    """

    kind: str
    driver: str
    driver_sha256: str
    transport: str
    port: str
    vendor_id: str = ""
    product_id: str = ""
    serial: str = ""
    strength: Literal["match-only"] | msgspec.UnsetType = msgspec.UNSET

    @property
    def weak(self) -> bool:
        """Whether nothing can be verified of what the device says."""
        return self.strength is not msgspec.UNSET


class PresenceClaim(Message, frozen=True):
    """How a node told that somebody is at it: `kind` ("seat", "button"), by which driver, over which transport."""

    kind: Word
    driver: Word
    driver_sha256: Word
    transport: Word


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


class RenewRequest(Message, frozen=True):
    """POST /v1/renew: a new client certificate; the quote carries `renew_digest`."""

    node_id: str
    nonce: bytes
    csr: bytes
    quote: QuoteEvidence


class RenewResult(Message, frozen=True):
    """The renewed certificate chain in PEM."""

    certificate: str


class EnrolStart(Message, frozen=True):
    """POST /v1/enrolments: the administrator's one-time ticket and PIN.

    `replaces` names the same administrator's record at this node that the new one takes the place of.
    """

    admin: str
    ticket: str
    pin: str
    replaces: Identifier | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return f"EnrolStart(admin={self.admin!r})"


class EnrolSession(Message, frozen=True):
    """What the node needs to enrol: nonce for the certification, consent text, this profile's first release share.

    `sealed_share` is a sealed `protocol.release.ReleasedShares`. `approval_key` (65-byte point) is whose approvals open
    what the enclave seals, and whose signature lifts a lock of the profile key.
    """

    enrolment_id: str
    nonce: bytes
    record_id: str
    sealed_share: bytes
    approval_key: bytes
    modalities: list[str]
    consent_version: str
    consent_text: str
    expires_at: Instant

    def __repr__(self) -> str:
        return f"EnrolSession(enrolment_id={self.enrolment_id!r})"


class ModalityModel(Message, frozen=True):
    """A modality of a profile, the model that made its features, and the version of the parameters.

    `traits` are words for how the modality is used that a policy may demand or refuse: `two-fingers`, `gestures`,
    `spoken-digits`, `own-threshold`, `own-model`, and those of further modalities.
    """

    modality: str
    model: str
    parameters: str
    traits: Annotated[tuple[Word, ...], msgspec.Meta(min_length=1, max_length=MOST_TRAITS)] | msgspec.UnsetType = (
        msgspec.UNSET
    )

    @property
    def traits_known(self) -> frozenset[str]:
        """The traits, or none."""
        return frozenset() if isinstance(self.traits, msgspec.UnsetType) else frozenset(self.traits)


class CertifiedIndex(Message, frozen=True):
    """A TPM's NV index: its public area (TPM2B_NV_PUBLIC), and the AK's certification of its content."""

    public: bytes
    attest: bytes
    signature: bytes


class CertifiedGuard(CertifiedIndex, frozen=True):
    """A profile key's PIN index; `change_key` (65-byte point) approved its PIN's change, and was thrown away."""

    change_key: bytes


class EnrolFinish(Message, frozen=True):
    """PUT /v1/enrolments/{enrolment_id}; everything certified is certified over `enrol_digest`.

    A TPM's profile key names in its policy the PIN index `guard`, which counts wrong answers; `floor` is the counter
    below whose value no approval of a machine state counts. Neither is there without a TPM.
    """

    profile_key: CertifiedPublic
    modalities: list[ModalityModel]
    sensors: list[SensorIdentity]
    consent_version: str
    consent_sha256: str
    consent_at: Instant
    guard: CertifiedGuard | msgspec.UnsetType = msgspec.UNSET
    floor: CertifiedIndex | msgspec.UnsetType = msgspec.UNSET


class EnrolResult(Message, frozen=True):
    """State of the profile: `pending` until an operator approves."""

    record_id: str
    state: str


class ResetRequest(Message, frozen=True):
    """POST /v1/profiles/{record_id}/reset: the enclave's nonce (32 bytes) for lifting the lock of a profile key."""

    nonce: bytes


class ResetGrant(Message, frozen=True):
    """The approval key's signature (64 bytes r ‖ s) that lifts the lock."""

    signature: bytes


class ErasedRecord(Message, frozen=True):
    """POST /v1/profiles/{record_id}/erased: the node holds nothing of this record any more."""

    record_id: Identifier


class BeginRequest(Message, frozen=True):
    """POST /v1/challenges/{id}/begin: somebody whose record this is stands at the sensors."""

    record_id: str


class StateApproval(Message, frozen=True):
    """The approval key's signature (64 bytes r ‖ s) over a state's policy digest (32 bytes) and the purpose.

    `selection` are the PCRs and `version` the number that the policy was made of.
    """

    policy: bytes
    signature: bytes
    selection: list[int]
    version: Number


class Activation(Message, frozen=True):
    """The secret half of a challenge; the deadline runs from here.

    `sealed_share` is a sealed `protocol.release.ReleasedShares`. `approval` is there for a node whose TPM opens its
    sealed secrets only in an approved state.
    """

    challenge_id: Identifier
    record_id: Identifier
    nonce: bytes
    digits: Word
    gestures: Annotated[list[Word], msgspec.Meta(max_length=MOST_GESTURES)]
    sealed_share: bytes
    deadline_s: Span
    pcr_selection: list[int]
    approval: StateApproval | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return f"Activation(challenge_id={self.challenge_id!r})"


class NvEvidence(Message, frozen=True):
    """The AK's certifications of the NV counter and of the agent's measurement, over what the quote beside it is over.

    `measured` are the digests (32 bytes each) that lead from zeros to the measurement: the agents that started.
    """

    counter: CertifiedPublic
    measurement: CertifiedPublic
    measured: Annotated[list[bytes], msgspec.Meta(max_length=MOST_MEASURED)]


class EvidenceSubmission(Message, frozen=True):
    """POST /v1/challenges/{id}/evidence: the EAT (compact JWS), the quote over its SHA-256, and what a TPM adds.

    `share` is the number of the release share that opens the node's record by now.
    """

    token: str
    quote: QuoteEvidence
    nv: NvEvidence | msgspec.UnsetType = msgspec.UNSET
    share: Number | msgspec.UnsetType = msgspec.UNSET


class FailureSubmission(Message, frozen=True):
    """POST /v1/challenges/{id}/failure: constant in form and length; the quote carries `failure_digest`."""

    quote: QuoteEvidence


class Outcome(StrEnum):
    """What the authority made of an answer."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"


class Verdict(Message, frozen=True, omit_defaults=True):
    """The authority's answer to evidence; `score` is in thousandths, `ear` a JWT for relying parties."""

    challenge_id: str
    outcome: Outcome
    reason: str
    score: Milli
    tier: Tier
    explanation: str
    ear: str = ""


class AttestSubmission(Message, frozen=True):
    """POST /v1/attest: machine attestation; the quote carries `attest_digest`.

    `event_log` is the firmware's log, at most `LONGEST_EVENT_LOG` bytes, where it was asked for and the node has one.
    """

    nonce: bytes
    quote: QuoteEvidence
    event_log: bytes | msgspec.UnsetType = msgspec.UNSET


class GroupSubmission(Message, frozen=True):
    """POST /v1/challenges/{id}/group: a member's quote over `group_digest`."""

    quote: QuoteEvidence


class AttestResult(Message, frozen=True):
    """Whether the machine's attestation held."""

    outcome: Outcome
    reason: str


class DeliveryAck(Message, frozen=True):
    """POST /v1/deliveries/{number}/ack: what the sinks report.

    `lost`: installed without keys to send under, because the sinks had them before and lost them.
    """

    installed: bool
    sinks: list[str]
    error: str = ""
    lost: bool = False


class LogConsistency(Message, frozen=True):
    """GET /v1/log/consistency?from=N&to=M: hashes (32 bytes each) that show one checkpoint to continue the other."""

    hashes: Annotated[list[bytes], msgspec.Meta(max_length=MOST_PROOF_HASHES)]


class RosterEntry(Message, frozen=True):
    """An administrator who may answer, and the record to unlock."""

    admin: str
    record_id: Identifier


class Summons(Message, frozen=True, tag="summons"):
    """Pushed: somebody of the roster is to present themselves before `expires_at`; carries no secret."""

    challenge_id: Identifier
    roster: Annotated[list[RosterEntry], msgspec.Meta(max_length=LARGEST_ROSTER)]
    modalities: list[str]
    reason: str
    expires_at: Instant


class AttestRequest(Message, frozen=True, tag="attest", omit_defaults=True):
    """Pushed: quote the machine now, and send the firmware's event log along where `event_log` asks for it."""

    nonce: bytes
    pcr_selection: list[int]
    expires_at: Instant
    event_log: bool = False


class DeliveryEvent(Message, frozen=True, tag="delivery"):
    """Pushed: a signed, sealed key delivery (`protocol.delivery.Envelope`, encoded)."""

    number: Number
    envelope: bytes


class StatusEvent(Message, frozen=True, tag="status"):
    """Pushed: the node's standing."""

    state: Word
    score: Milli
    tier: Tier
    access: Access
    rotation: Rotation
    next_challenge_at: Instant | None = None


class LogCheckpoint(Message, frozen=True, tag="checkpoint"):
    """Pushed: the audit log as it is now, a signed note (`protocol.checkpoint`), and its key's certificate in DER."""

    note: Annotated[str, msgspec.Meta(max_length=LONGEST_NOTE)]
    certificate: bytes


class GroupSummons(Message, frozen=True, tag="group"):
    """Pushed to a member of a challenge group: quote over `group_digest`, for evidence accepted at the sensor node."""

    challenge_id: Identifier
    nonce: bytes
    evidence_sha256: bytes
    pcr_selection: list[int]
    expires_at: Instant


class ErasureOrder(Message, frozen=True, tag="erasure"):
    """Pushed: remove everything of this record, and say so (`ErasedRecord`)."""

    record_id: Identifier


Event = Summons | AttestRequest | DeliveryEvent | StatusEvent | LogCheckpoint | GroupSummons | ErasureOrder
"""Everything that the authority pushes on the WebSocket /v1/events, one JSON text frame each."""
