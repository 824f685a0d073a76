"""Attestation Results for relying parties: an EAR with an AR4SI vector per submodule, as JWT signed with ES256.

Sources: draft-ietf-rats-ear-04 (claims), draft-ietf-rats-ar4si (claims' values and tiers), RFC 7519. A value that is
left out makes no claim; -1 is a fault of the verifier's own, 1 evidence that it did not understand, and neither says
anything about the node. The status is the worst of the vector's tiers and of what the policy makes of the score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import Connection, Row, select

from authority.runtime import Runtime
from authority.store import schema
from authority.trust import CUT_OFF, OPEN_CHALLENGES, ChallengeState
from protocol.levels import EnclaveKind, NodeState, Tier

EAR_PROFILE = "tag:ietf.org,2026:rats/ear#04"
MALFUNCTION, NOT_UNDERSTOOD, NO_CLAIM = -1, 1, 0
RECOGNISED, COMPROMISED, UNRECOGNISED = 2, 96, 97
"""instance-identity: known and not known to be compromised; recognised, and given up; not recognised."""
GENUINE, APPROVED, APPROVED_AT_BOOT, UNACCEPTABLE = 2, 2, 3, 96
"""Hardware that its maker vouches for; an approved configuration; executables that were approved when they were loaded,
of which nothing is known after that; a configuration that is not approved."""

try:
    VERSION = version("keyvigil")
except PackageNotFoundError:
    VERSION = "0"

Vector = dict[str, int]


class Status(StrEnum):
    """Trustworthiness tiers."""

    NONE = "none"
    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"


_WORST = (Status.CONTRAINDICATED, Status.WARNING, Status.AFFIRMING)
_BY_TIER = {Tier.HIGH: Status.AFFIRMING, Tier.MEDIUM: Status.WARNING, Tier.LOW: Status.CONTRAINDICATED}


def tier_of_claim(value: int) -> Status:
    """The tier of one value between -128 and 127; raises `ValueError` outside."""
    if not -128 <= value <= 127:
        raise ValueError(f"an AR4SI value is between -128 and 127, not {value}")
    if -1 <= value <= 1:
        return Status.NONE
    if -32 <= value <= 31:
        return Status.AFFIRMING
    return Status.WARNING if -96 <= value <= 95 else Status.CONTRAINDICATED


def worst(statuses: Iterable[Status]) -> Status:
    """The worst tier; `NONE` only where nothing else is said."""
    said = set(statuses)
    return next((status for status in _WORST if status in said), Status.NONE)


def sign_ear(claims: Mapping[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """Compact JWS of an EAR."""
    jwk = _jwk(key)
    return jwt.encode({"alg": "ES256", "typ": "eat+jwt", "kid": jwk.thumbprint()}, dict(claims), jwk, ["ES256"])


def signed(conn: Connection, rt: Runtime, node_id: str, now: float, nonce: str | None = None) -> str:
    """The signed EAR of a node, or nothing where this authority has no key for that."""
    return sign_ear(ear_of(conn, rt, node_id, now, nonce), rt.ear_key) if rt.ear_key is not None else ""


def jwks(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """The key set (RFC 7517) that relying parties verify with."""
    jwk = _jwk(key)
    public = {name: value for name, value in jwk.as_dict(private=False).items() if name in {"kty", "crv", "x", "y"}}
    return {"keys": [{**public, "kid": jwk.thumbprint(), "use": "sig", "alg": "ES256"}]}


def ear_of(conn: Connection, rt: Runtime, node_id: str, now: float, nonce: str | None = None) -> dict[str, Any]:
    """The claims about a node and about whoever answered there last; `nonce` is the relying party's own."""
    node = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one()
    claims = {
        "eat_profile": EAR_PROFILE,
        "iat": int(now),
        "exp": int(now + rt.policy.attestation.overdue_after_s),
        "sub": node.id,
        "ear_verifier_id": {"developer": "Keyvigil", "build": f"keyvigil-authority/{VERSION}"},
        "submods": {"node": _node(rt, node, now), "admin": _admin(conn, rt, node, now)},
    }
    return claims if nonce is None else {**claims, "eat_nonce": nonce}


def _node(rt: Runtime, node: Row[Any], now: float) -> dict[str, Any]:
    vector = _machine_vector(rt, node, now)
    by_policy = _BY_TIER[Tier(node.tier)]
    if node.state == NodeState.PENDING:
        by_policy = Status.NONE
    elif NodeState(node.state) in CUT_OFF:
        by_policy = Status.CONTRAINDICATED
    appraisal = _appraisal(rt, vector, by_policy)
    by_us = {"keyvigil_score": node.score, "keyvigil_tier": node.tier, "keyvigil_state": node.state}
    return {**appraisal, "ear_verifier_claims": by_us}


def _machine_vector(rt: Runtime, node: Row[Any], now: float) -> Vector:
    """What the last machine attestation is worth; silence of too long makes no claim."""
    gone = node.state in {NodeState.BANNED, NodeState.RETIRED}
    vector = {"instance-identity": COMPROMISED if gone else RECOGNISED}
    if node.enclave_kind != EnclaveKind.TPM2:
        return vector
    if not node.lab:
        vector["hardware"] = GENUINE
    if node.attestation_failed:
        return vector | {"configuration": UNACCEPTABLE}
    attested = node.last_attested_at if node.last_attested_at is not None else node.joined_at
    if now - attested > rt.policy.attestation.overdue_after_s:
        return vector | {"configuration": NO_CLAIM}
    vector["configuration"] = APPROVED
    return vector if node.nv_counter is None else vector | {"executables": APPROVED_AT_BOOT}


def _admin(conn: Connection, rt: Runtime, node: Row[Any], now: float) -> dict[str, Any]:
    """The last challenge that is over: somebody who is enrolled stood there, or did not, or nobody can tell."""
    row = schema.challenge
    decided = (row.c.node_id == node.id) & row.c.state.not_in(OPEN_CHALLENGES)
    last = conn.execute(select(row).where(decided).order_by(row.c.epoch.desc()).limit(1)).first()
    if last is None:
        return _appraisal(rt, {"instance-identity": NO_CLAIM}, Status.NONE)
    age = now - (last.answered_at or last.activated_at or last.summoned_at)
    caps = rt.policy.caps
    by_age = {caps.stale_low_s: Status.CONTRAINDICATED, caps.stale_medium_s: Status.WARNING}
    stale = worst(status for limit, status in by_age.items() if age > limit)
    return _appraisal(rt, {"instance-identity": _person_claim(last)}, stale)


def _person_claim(challenge: Row[Any]) -> int:
    """A challenge that ran out has no verdict of its own; one that nobody began claims nothing."""
    if challenge.claim is not None:
        return int(challenge.claim)
    by_state = {
        ChallengeState.ACCEPTED: RECOGNISED,
        ChallengeState.FAILED: UNRECOGNISED,
        ChallengeState.UNDECIDED: MALFUNCTION,
    }
    return by_state.get(ChallengeState(challenge.state), NO_CLAIM)


def _appraisal(rt: Runtime, vector: Vector, by_policy: Status) -> dict[str, Any]:
    status = worst([by_policy, *map(tier_of_claim, vector.values())])
    return {
        "ear_status": status.value,
        "ear_trustworthiness_vector": vector,
        "ear_appraisal_policy_ids": [f"tag:keyvigil,2026:policy/{rt.policy.version}"],
    }


def _jwk(key: ec.EllipticCurvePrivateKey) -> ECKey:
    return ECKey.import_key(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
