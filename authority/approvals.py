"""Approvals of machine states: what a node's TPM needs before it opens what was sealed under them.

A node's secrets are sealed under PolicyAuthorize with the authority's approval key. An approval is that key's signature
over the policy of one set of PCR values and a version; the node's TPM takes none of a version below its floor, an NV
counter that follows the version. So a firmware update is an approval and no new enrolment, and an old state that was
replaced is no longer good.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, Row

from authority import references
from authority.attesting import RegistrationUnreadable
from authority.runtime import Runtime
from authority.tpm import state_policy
from protocol.guard import STATE_REFERENCE
from protocol.messages import StateApproval


def approval_point(rt: Runtime) -> bytes:
    """The approval key as nodes know it: a 65-byte uncompressed point."""
    return rt.approval_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def approval(conn: Connection, rt: Runtime, node: Row[Any]) -> StateApproval | msgspec.UnsetType:
    """The approval of the state that a node holds in.

    `UNSET` where nothing at the node is sealed under one, and where no state of it is accepted.

    Its version is above that of every approval from before the last decision on the node's states. Raises
    `RegistrationUnreadable`.
    """
    if not node.floor_public:
        return msgspec.UNSET
    try:
        state = references.present_state(conn, node)
        if not state:
            return msgspec.UNSET
        values = {int(index): bytes.fromhex(value) for index, value in state.items()}
    except ValueError as error:
        raise RegistrationUnreadable(f"the node's reference state cannot be read: {error}") from None
    policy = state_policy(values, node.floor_public, node.state_version)
    signature = sign_raw(rt.approval_key, policy + STATE_REFERENCE)
    return StateApproval(policy=policy, signature=signature, selection=sorted(values), version=node.state_version)


def sign_raw(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """ECDSA P-256 over SHA-256(`message`) as 64 bytes r ‖ s."""
    r, s = decode_dss_signature(key.sign(hashlib.sha256(message).digest(), ec.ECDSA(Prehashed(hashes.SHA256()))))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
