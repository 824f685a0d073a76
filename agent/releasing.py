"""What the authority releases with an enrolment or an activation, as the enclave takes it."""

from __future__ import annotations

import msgspec

from agent.enclave import pcr_selection
from agent.identity import Identity
from agent.joining import DELIVERY_KEY_AUTH
from agent.point import uncompressed_point
from hal import Approval, Enclave
from protocol.messages import Activation, StateApproval
from protocol.release import ReleasedShares, challenge_release_info, open_release


def open_shares(identity: Identity, enclave: Enclave, sealed: bytes, info: bytes) -> ReleasedShares:
    """Release shares that were sealed to this node's delivery key; raises `ProtocolViolation`."""
    key = identity.delivery_key.certified()
    recipient = uncompressed_point(key.public)
    return open_release(sealed, info, recipient, lambda peer: enclave.agree(key, DELIVERY_KEY_AUTH, peer))


def activated_shares(identity: Identity, enclave: Enclave, activation: Activation) -> ReleasedShares:
    """The release shares of an activated challenge; raises `ProtocolViolation`."""
    info = challenge_release_info(identity.node_id, activation.record_id, activation.challenge_id, activation.nonce)
    return open_shares(identity, enclave, activation.sealed_share, info)


def approval_in(given: StateApproval | msgspec.UnsetType) -> Approval | None:
    """The approval of a machine state as the enclave takes it; raises `ProtocolViolation`."""
    if isinstance(given, msgspec.UnsetType):
        return None
    return Approval(given.policy, given.signature, pcr_selection(given.selection), given.version)
