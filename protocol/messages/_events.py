"""What the authority pushes, and what a node says of it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from protocol.bounds import Identifier, Instant, Milli, Number, Word
from protocol.checkpoint import LONGEST_NOTE
from protocol.levels import Access, Rotation, Tier
from protocol.merkle import MOST_PROOF_HASHES
from protocol.messages._base import Message

LARGEST_ROSTER = 1000


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
