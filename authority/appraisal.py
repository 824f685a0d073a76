"""Appraisal of evidence (RFC 9334): every check that a token and its quote must pass, in one order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from sqlalchemy import Connection, Row

from authority.attesting import ClockWentBack, StateChanged, check_quote
from authority.runtime import Runtime
from authority.tpm import TpmFormatError, TpmRejected, public_key
from authority.trust import is_too_fast, quality_value, speed_value
from authority.verdict import Accepted, Appraisal, Rejected, Undecided
from protocol.codec import ProtocolViolation, b64url, decode
from protocol.digests import evidence_digest
from protocol.evidence import EvidenceClaims, read_claims
from protocol.messages import EvidenceSubmission, ModalityModel, SensorIdentity


@dataclass(frozen=True)
class Presented:
    """Everything that evidence is appraised against: rows of node, challenge and profile, and the connection."""

    node: Row[Any]
    challenge: Row[Any]
    profile: Row[Any]
    certificate_sha256: str
    elapsed_s: float


class _Unsound(Exception):
    """One check that evidence did not pass."""


def appraise(conn: Connection, rt: Runtime, presented: Presented, evidence: EvidenceSubmission) -> Appraisal:
    """The appraisal of evidence for an activated, unanswered challenge within its deadline."""
    try:
        key = public_key(presented.profile.public)
    except TpmFormatError as error:
        return Undecided(f"the registered profile key cannot be read: {error}")
    try:
        claims = read_claims(evidence.token)
        _check_signature(evidence.token, key)
        _check_binding(claims, presented)
        _check_content(rt, claims, presented)
        check_quote(conn, rt, presented.node, evidence.quote, evidence_digest(evidence.token))
    except StateChanged as error:
        return Rejected(str(error), machine=True)
    except (ProtocolViolation, _Unsound, TpmRejected, ClockWentBack) as error:
        return Rejected(str(error))
    names = [model.modality for model in claims.modalities]
    speed = speed_value(rt.policy, presented.elapsed_s, names)
    return Accepted(speed=speed, quality=quality_value(claims.quality), counter=claims.counter)


def _check_signature(token: str, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> None:
    """ES256 by the registered profile key, and nothing else."""
    spki = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        jws.deserialize_compact(token, ECKey.import_key(spki.decode()), algorithms=["ES256"])
    except (JoseError, ValueError):
        raise _Unsound("the token is not signed by the profile's key") from None


def _check_binding(claims: EvidenceClaims, presented: Presented) -> None:
    """The token is of this node, this person, this challenge and this connection."""
    wanted = {
        "node": (claims.iss, presented.node.id),
        "nonce": (claims.eat_nonce, b64url(presented.challenge.nonce)),
        "challenge": (claims.challenge, presented.challenge.id),
        "record": (claims.record, presented.profile.record_id),
        "certificate": (claims.certificate, presented.certificate_sha256),
    }
    for what, (said, expected) in wanted.items():
        if said != expected:
            raise _Unsound(f"the token is for another {what}")
    if claims.counter <= presented.profile.counter:
        raise _Unsound("the token's counter did not grow")


def _check_content(rt: Runtime, claims: EvidenceClaims, presented: Presented) -> None:
    """Enough enrolled modalities, by the models and sensors of the enrolment, not sooner than a person can."""
    enrolled = decode(presented.profile.modalities, list[ModalityModel])
    if any(model not in enrolled for model in claims.modalities):
        raise _Unsound("a modality or its model is not the enrolled one")
    if len(claims.modalities) < rt.policy.challenge.min_modalities:
        raise _Unsound("too few modalities")
    pinned = zip(enrolled, decode(presented.profile.sensors, list[SensorIdentity]), strict=True)
    sensors = {model.modality: sensor for model, sensor in pinned}
    if claims.sensors != [sensors[model.modality] for model in claims.modalities]:
        raise _Unsound("a sensor is not the one that was pinned at enrolment")
    if is_too_fast(rt.policy, presented.elapsed_s):
        raise _Unsound("the answer came sooner than a person can give one")
