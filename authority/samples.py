"""What is kept of presented samples: the commitment in the audit log, and replay tags for as long as policy says.

A tag is keyed by what only this profile's node has. Equal samples of one profile have equal tags; tags of two profiles,
of one person or of two, have nothing to do with one another, and nobody here can compute one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from authority import audit
from authority.refusal import Refused
from authority.runtime import Runtime
from authority.store import schema
from authority.weak import is_weak
from protocol.evidence import EvidenceClaims
from protocol.openings import EVIDENCE
from protocol.problems import ErrorCode

RESUBMITTED = "a sample was given before"
UNTAGGED = "a sample has no replay tag"


def note(conn: Connection, rt: Runtime, profile: Row[Any], claims: EvidenceClaims, token: str, now: float) -> str:
    """Note evidence that its profile's key signed; what speaks against its samples, empty when nothing does.

    It is noted whatever the verdict: a sample of refused evidence does not become a fresh one.
    """
    _log(conn, claims, token, now)
    tags, tagged = claims.tags, {*json.loads(profile.tagged)}
    known = _known(conn, rt, profile.record_id, [*tags.values()], now)
    missing = _demanded(rt, claims, tagged) - tags.keys()
    _remember(conn, rt, profile.record_id, {*tags.values()} - known, now)
    if not tags.keys() <= tagged:
        mine = schema.profile.c.record_id == profile.record_id
        conn.execute(update(schema.profile).where(mine).values(tagged=json.dumps(sorted(tagged | tags.keys()))))
    return RESUBMITTED if known else UNTAGGED if missing else ""


def logged(conn: Connection, challenge_id: str) -> int:
    """The sequence number of the audit record of a challenge's evidence; raises `Refused`."""
    row = schema.challenge
    seq = conn.scalar(select(row.c.evidence_seq).where(row.c.id == challenge_id))
    if seq is None:
        text = "no evidence is on record for such a challenge"
        raise Refused(ErrorCode.NOT_FOUND, 404, text, "Openings are of evidence that a profile's key signed.")
    return int(seq)


def forget(conn: Connection, record_id: str) -> None:
    """Remove every tag of a profile."""
    conn.execute(delete(schema.replay_tag).where(schema.replay_tag.c.record_id == record_id))


def _log(conn: Connection, claims: EvidenceClaims, token: str, now: float) -> None:
    detail = {
        "challenge": claims.challenge,
        "record": claims.record,
        "nonce": claims.eat_nonce,
        "commitment": claims.commitment.hex(),
        "token": hashlib.sha256(token.encode()).hexdigest(),
    }
    seq, _ = audit.append(conn, EVIDENCE, claims.iss, claims.iss, detail, now)
    conn.execute(update(schema.challenge).where(schema.challenge.c.id == claims.challenge).values(evidence_seq=seq))


def _demanded(rt: Runtime, claims: EvidenceClaims, tagged: set[str]) -> set[str]:
    """Modalities that need a tag: those that had one before, and where policy says so all that are not weak."""
    pairs = zip(claims.modalities, claims.sensors, strict=False)
    return {
        model.modality
        for model, sensor in pairs
        if model.modality in tagged or (rt.policy.replay.require and not is_weak(model.modality, sensor))
    }


def _known(conn: Connection, rt: Runtime, record_id: str, tags: list[bytes], now: float) -> set[bytes]:
    """Which of these tags were shown within the window; what is older is forgotten, of every profile."""
    row = schema.replay_tag
    conn.execute(delete(row).where(row.c.at <= now - rt.policy.replay.window_s))
    mine = (row.c.record_id == record_id) & row.c.tag.in_(tags)
    return {bytes(tag) for tag in conn.scalars(select(row.c.tag).where(mine))}


def _remember(conn: Connection, rt: Runtime, record_id: str, tags: set[bytes], now: float) -> None:
    if rt.policy.replay.window_s and tags:
        rows = [{"record_id": record_id, "tag": tag, "at": now} for tag in sorted(tags)]
        conn.execute(insert(schema.replay_tag), rows)
