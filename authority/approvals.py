"""Approvals of machine states: what a node's TPM needs before it opens what was sealed under them.

A node's secrets are sealed under PolicyAuthorize with the authority's approval key. An approval is that key's signature
over the policy of one set of PCR values and a version; the node's TPM takes none of a version below its floor, an NV
counter that follows the version. So a firmware update is an approval and no new enrolment, and an old state that was
replaced is no longer good.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, Row, select, update

from authority import audit
from authority.runtime import Runtime
from authority.store import schema
from authority.tpm import state_policy
from protocol.codec import decode
from protocol.guard import STATE_REFERENCE
from protocol.messages import StateApproval


def approval_point(rt: Runtime) -> bytes:
    """The approval key as nodes know it: a 65-byte uncompressed point."""
    return rt.approval_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def approve_state(
    conn: Connection, rt: Runtime, node_id: str, pcrs: Mapping[int, bytes], version: int, actor: str, now: float
) -> StateApproval | msgspec.UnsetType:
    """Make `pcrs` (32 bytes each) the state in which a node's secrets open, and the approval of it.

    `version` is above every one before, or the node's present one to approve a second time; 0 takes the next. From the
    node's next activation on, its TPM refuses the approvals of earlier versions. Raises `ValueError`.
    """
    node = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one()
    version = version or node.state_version + 1
    if version < node.state_version:
        raise ValueError(f"version {version} of the approved state is below the present one, {node.state_version}")
    reference = json.dumps({str(index): value.hex() for index, value in sorted(pcrs.items())})
    values = {"reference_pcrs": reference, "state_version": version}
    conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(**values))
    detail = {"version": version, "pcrs": json.loads(reference)}
    audit.append(conn, "state-approved", actor, node_id, detail, now)
    return approval(rt, conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one())


def approval(rt: Runtime, node: Row[Any]) -> StateApproval | msgspec.UnsetType:
    """The approval of a node's reference state; `UNSET` where nothing at the node is sealed under one."""
    if not node.floor_public:
        return msgspec.UNSET
    values = {index: bytes.fromhex(value) for index, value in decode(node.reference_pcrs, dict[int, str]).items()}
    policy = state_policy(values, node.floor_public, node.state_version)
    signature = sign_raw(rt.approval_key, policy + STATE_REFERENCE)
    return StateApproval(policy=policy, signature=signature, selection=sorted(values), version=node.state_version)


def sign_raw(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """ECDSA P-256 over SHA-256(`message`) as 64 bytes r ‖ s."""
    r, s = decode_dss_signature(key.sign(hashlib.sha256(message).digest(), ec.ECDSA(Prehashed(hashes.SHA256()))))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
