"""Errors as both sides name them (RFC 9457 problem details)."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ErrorCode(StrEnum):
    """Why a request was refused; stable, for programs."""

    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    TOKEN_INVALID = "token-invalid"  # noqa: S105 - the name of an error, not a credential
    TICKET_INVALID = "ticket-invalid"
    NAME_TAKEN = "name-taken"
    ENDORSEMENT_REJECTED = "endorsement-rejected"
    ATTESTATION_REJECTED = "attestation-rejected"
    VIRTUAL_DEVICE = "virtual-device"
    CHALLENGE_CLOSED = "challenge-closed"
    NONCE_EXPIRED = "nonce-expired"
    REPLAYED = "replayed"
    EVIDENCE_REJECTED = "evidence-rejected"
    PROFILE_UNKNOWN = "profile-unknown"
    NODE_BANNED = "node-banned"
    CONFLICT = "conflict"
    TOO_MANY_TRIES = "too-many-tries"
    TOO_LARGE = "too-large"
    UNAVAILABLE = "unavailable"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Body of every refused request, media type application/problem+json."""

    title: str
    status: int
    code: ErrorCode
    detail: str = ""
    remedy: str = ""
    type: str = "about:blank"
