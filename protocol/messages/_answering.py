"""Answering challenges of persons and of the machine."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from protocol.bounds import Identifier, Milli, Number, Span, Word
from protocol.flashes import MOST_FLASHES
from protocol.levels import Tier
from protocol.messages._base import CertifiedPublic, Message, QuoteEvidence

MOST_GESTURES = 16
MOST_MEASURED = 64
LONGEST_EVENT_LOG = 512 * 1024


class BeginRequest(Message, frozen=True):
    """POST /v1/challenges/{id}/begin: somebody whose record this is stands at the sensors.

    `screen` tells that the node can light the face with a screen; only then are flashes drawn.
    """

    record_id: str
    screen: bool | msgspec.UnsetType = msgspec.UNSET


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
    sealed secrets only in an approved state, `opening_s` where policy and consent let the node keep the openings of the
    commitments for so long, `flashes` the hues that its screen shows, where it has one and policy wants any.
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
    opening_s: Span | msgspec.UnsetType = msgspec.UNSET
    flashes: Annotated[list[Word], msgspec.Meta(max_length=MOST_FLASHES)] | msgspec.UnsetType = msgspec.UNSET

    @property
    def hues(self) -> list[str]:
        """What the node's screen shows; nothing where no flashes were drawn."""
        return [] if isinstance(self.flashes, msgspec.UnsetType) else self.flashes

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
    """POST /v1/attest: machine attestation; the quote carries `attest_digest`, and so do the certifications in `nv`.

    `event_log` is the firmware's log, at most `LONGEST_EVENT_LOG` bytes, where it was asked for and the node has one.
    """

    nonce: bytes
    quote: QuoteEvidence
    nv: NvEvidence | msgspec.UnsetType = msgspec.UNSET
    event_log: bytes | msgspec.UnsetType = msgspec.UNSET


class GroupSubmission(Message, frozen=True):
    """POST /v1/challenges/{id}/group: a member's quote over `group_digest`."""

    quote: QuoteEvidence


class AttestResult(Message, frozen=True):
    """Whether the machine's attestation held."""

    outcome: Outcome
    reason: str
