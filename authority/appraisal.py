"""Appraisal of evidence (RFC 9334): every check that a token and its quote must pass, in one order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from msgspec import UnsetType
from sqlalchemy import Connection, Row

from authority import driver_followers, faces, profiles, samples
from authority.admitting import VIRTUAL
from authority.attesting import ClockWentBack, RegistrationUnreadable, StateChanged, check_quote
from authority.enclaves import enclave_key
from authority.measurements import MAX_COUNTER, check_measurements
from authority.runtime import Runtime
from authority.tpm import TpmFormatError, TpmRejected
from authority.trust import is_too_fast, quality_value, speed_value
from authority.verdict import Accepted, Appraisal, Basis, Rejected, Undecided
from authority.weak import split
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


@dataclass(frozen=True)
class _Enrolled:
    """What the enrolment left: the profile's P-256 key, every modality's model with its sensor, and the camera that
    looks on in infrared, if there is one."""

    key: ec.EllipticCurvePublicKey
    sensors: dict[ModalityModel, SensorIdentity]
    infrared: SensorIdentity | None


class _Unsound(Exception):
    """One check that evidence did not pass."""


def appraise(
    conn: Connection, rt: Runtime, presented: Presented, evidence: EvidenceSubmission, now: float
) -> Appraisal:
    """The appraisal of evidence for an activated, unanswered challenge within its deadline.

    What cannot be read of our own records is `Undecided`; a quote that does not hold fails the machine as well.
    """
    try:
        enrolled = _enrolled(presented)
        claims = _check(conn, rt, presented, enrolled, evidence, now)
    except RegistrationUnreadable as error:
        return Undecided(str(error))
    except (TpmRejected, StateChanged, ClockWentBack) as error:
        return Rejected(str(error), machine=True)
    except ProtocolViolation as error:
        return Rejected(str(error), understood=False)
    except _Unsound as error:
        return Rejected(str(error))
    names = [model.modality for model in claims.modalities]
    speed = speed_value(rt.policy, presented.elapsed_s, names)
    strong, _ = _counted(rt, claims, enrolled, presented)
    weak = len(strong) < rt.policy.challenge.min_modalities
    basis = Basis(tuple(model.model for model in strong), tuple(names), presented.elapsed_s)
    note = _objection(rt, claims, enrolled, presented)
    return Accepted(speed, quality_value(claims.quality), claims.counter, weak, basis, note)


def _check(
    conn: Connection, rt: Runtime, presented: Presented, enrolled: _Enrolled, evidence: EvidenceSubmission, now: float
) -> EvidenceClaims:
    claims = read_claims(evidence.token)
    _check_signature(evidence.token, enrolled.key)
    _check_binding(claims, presented)
    objection = samples.note(conn, rt, presented.profile, claims, evidence.token, now)
    _check_content(rt, claims, enrolled, presented)
    _check_sensors(conn, claims, enrolled)
    digest, nv = evidence_digest(evidence.token), None if isinstance(evidence.nv, UnsetType) else evidence.nv
    check_quote(conn, rt, presented.node, evidence.quote, digest, now)
    check_measurements(conn, presented.node, nv, digest, now, required=rt.policy.attestation.require_nv)
    if objection:
        raise _Unsound(objection)
    return claims


def _enrolled(presented: Presented) -> _Enrolled:
    profile = presented.profile
    try:
        key = enclave_key(presented.node.enclave_kind, profile.public)
        models = decode(profile.modalities, list[ModalityModel])
        sensors = dict(zip(models, decode(profile.sensors, list[SensorIdentity]), strict=True))
        infrared = decode(profile.infrared, SensorIdentity) if profile.infrared else None
    except (TpmFormatError, ValueError) as error:
        raise RegistrationUnreadable(f"the registered profile cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise RegistrationUnreadable("the registered profile has no P-256 key")
    return _Enrolled(key, sensors, infrared)


def _check_signature(token: str, key: ec.EllipticCurvePublicKey) -> None:
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
    if not presented.profile.counter < claims.counter <= MAX_COUNTER:
        raise _Unsound("the token's counter did not grow")
    if presented.profile.state != profiles.ACTIVE:
        raise _Unsound("the profile was revoked meanwhile")


def _check_content(rt: Runtime, claims: EvidenceClaims, enrolled: _Enrolled, presented: Presented) -> None:
    """Enough enrolled modalities, by the models and sensors of the enrolment, not sooner than a person can.

    One that the policy has ceased to accept does no harm and counts for nothing.
    """
    if any(model not in enrolled.sensors for model in claims.modalities):
        raise _Unsound("a modality or its model is not the enrolled one")
    if sum(map(len, _counted(rt, claims, enrolled, presented))) < rt.policy.challenge.min_modalities:
        found = _objection(rt, claims, enrolled, presented)
        raise _Unsound(f"too few modalities; {found}" if found else "too few modalities")
    if is_too_fast(rt.policy, presented.elapsed_s):
        raise _Unsound("the answer came sooner than a person can give one")
    if rt.policy.challenge.require_presence:
        _check_presence(claims, presented)


def _check_sensors(conn: Connection, claims: EvidenceClaims, enrolled: _Enrolled) -> None:
    """Those of the enrolment, each with its driver or with one that operators let stand in for it."""
    pinned = [enrolled.sensors[model] for model in claims.modalities]
    if len(claims.sensors) != len(pinned):
        raise _Unsound("a sensor is not the one that was pinned at enrolment")
    for said, known in zip(claims.sensors, pinned, strict=True):
        _check_pinned(conn, "a sensor", said, known)
    if enrolled.infrared is not None and not isinstance(claims.infrared, UnsetType):
        _check_pinned(conn, "the infrared camera", claims.infrared.sensor, enrolled.infrared)


def _check_pinned(conn: Connection, what: str, said: SensorIdentity, known: SensorIdentity) -> None:
    if driver_followers.is_pinned(conn, said, known):
        return
    if msgspec.structs.replace(known, driver_sha256=said.driver_sha256) == said:
        raise _Unsound(f"the code of driver {known.driver} is another than at enrolment: see `driver follow`")
    raise _Unsound(f"{what} is not the one that was pinned at enrolment")


def _counted(
    rt: Runtime, claims: EvidenceClaims, enrolled: _Enrolled, presented: Presented
) -> tuple[list[ModalityModel], list[ModalityModel]]:
    """Strong and weak modalities that the policy accepts."""
    rules = rt.policy.enrolment
    accepted = [model for model in claims.modalities if not rules.objection(model.modality, model.traits_known)]
    if _objection(rt, claims, enrolled, presented):
        accepted = [model for model in accepted if model.modality != faces.FACE]
    return split(accepted, enrolled.sensors)


def _objection(rt: Runtime, claims: EvidenceClaims, enrolled: _Enrolled, presented: Presented) -> str:
    return faces.objection(rt.policy, claims, enrolled.infrared, lab=bool(presented.node.lab))


def _check_presence(claims: EvidenceClaims, presented: Presented) -> None:
    """Somebody was seen at the machine, by a sensor that is no simulation unless the node is of the lab."""
    if isinstance(claims.presence, UnsetType):
        raise _Unsound("the evidence does not say that somebody was at the machine")
    if claims.presence.transport == VIRTUAL and not presented.node.lab:
        raise _Unsound("somebody was seen at the machine by a simulated sensor only")
