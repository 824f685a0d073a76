"""Evidence: an Entity Attestation Token (RFC 9711) in its JWT form, signed by the profile key with ES256."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence

import msgspec

from protocol.bounds import Number
from protocol.codec import ProtocolViolation, b64url, decode, encode, length_prefixed, unb64url
from protocol.messages import FlashClaim, InfraredClaim, Message, ModalityModel, PresenceClaim, SensorIdentity

EAT_PROFILE = "tag:keyvigil,2026:evidence/1"
ELAPSED_BOUNDS_S = (10, 20, 30, 45, 60)
"""Upper bounds of the elapsed-time buckets 0 to 4; bucket 5 is anything slower."""
SIGNATURE_BYTES = 64
LEVELS = 5
"""Quality and margin come in the buckets 0 (poor) to 4 (good)."""
BLINDING_BYTES = 32
TAG_BYTES = 32


class EvidenceClaims(Message, frozen=True):
    """Claims of the token. `commitment` is the Merkle root over `commitments` in the order of `modalities`.

    `presence` is there only where the node asked whether somebody is at it, and somebody was. `replay` has a replay tag
    for each modality, empty for one whose samples are not told apart; a node of before there were any sends none.
    `flashes` is there only where the face was judged by the colours that a screen shows, `infrared` only where a second
    camera saw it in infrared; nodes of before there were either send neither.
    """

    eat_profile: str
    iss: str
    eat_nonce: str
    challenge: str
    record: str
    certificate: str
    modalities: list[ModalityModel]
    sensors: list[SensorIdentity]
    commitments: list[bytes]
    commitment: bytes
    elapsed: int
    quality: int
    margin: int
    counter: Number
    agent: str
    presence: PresenceClaim | msgspec.UnsetType = msgspec.UNSET
    replay: list[bytes] | msgspec.UnsetType = msgspec.UNSET
    flashes: FlashClaim | msgspec.UnsetType = msgspec.UNSET
    infrared: InfraredClaim | msgspec.UnsetType = msgspec.UNSET

    @property
    def tags(self) -> dict[str, bytes]:
        """Replay tags by modality, of those that have one."""
        if isinstance(self.replay, msgspec.UnsetType):
            return {}
        return {model.modality: tag for model, tag in zip(self.modalities, self.replay, strict=True) if tag}


def commit(opening: bytes, context: bytes, nonce: bytes, model: ModalityModel, features: bytes) -> bytes:
    """Hiding commitment to int16 little-endian features: HMAC-SHA256 keyed by 32 fresh bytes."""
    if len(opening) != BLINDING_BYTES:
        raise ValueError("an opening has 32 bytes")
    bound = length_prefixed("keyvigil/commitment/1", context, nonce, model.modality, model.model, features)
    return hmac.new(opening, bound, hashlib.sha256).digest()


def replay_tag(key: bytes, model: ModalityModel, features: bytes) -> bytes:
    """HMAC-SHA256 of one sample under a key that only this profile on this node has: equal for equal samples."""
    said = length_prefixed("keyvigil/replay-tag/1", model.modality, model.model, features)
    return hmac.new(key, said, hashlib.sha256).digest()


def commitment_context(node_id: str, record_id: str, challenge_id: str) -> bytes:
    """What a commitment belongs to."""
    return length_prefixed(node_id, record_id, challenge_id)


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Merkle Tree Hash of RFC 6962 §2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])).digest()


def elapsed_bucket(seconds: float) -> int:
    """Index of the coarse bucket that `seconds` falls into, 0 to 5."""
    return sum(seconds > bound for bound in ELAPSED_BOUNDS_S)


def level(percent: float) -> int:
    """Coarse bucket 0 to 4 of a value between 0 and 100."""
    return min(LEVELS - 1, max(0, int(percent * LEVELS / 100)))


def encode_token(claims: EvidenceClaims, sign: Callable[[bytes], bytes]) -> str:
    """Compact JWS (RFC 7515) of the claims; `sign` gets the SHA-256 of the signing input and gives r ‖ s."""
    header = b64url(encode({"alg": "ES256", "kid": claims.record, "typ": "eat+jwt"}))
    signing_input = f"{header}.{b64url(encode(claims))}"
    return f"{signing_input}.{b64url(sign(hashlib.sha256(signing_input.encode()).digest()))}"


def read_claims(token: str) -> EvidenceClaims:
    """Claims of a compact JWS whose signature somebody else verifies; checks form, header and Merkle root."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > 16_384:
        raise ProtocolViolation("evidence is not a compact JWS")
    header = decode(unb64url(parts[0]), dict[str, str])
    claims = decode(unb64url(parts[1]), EvidenceClaims)
    if len(unb64url(parts[2])) != SIGNATURE_BYTES:
        raise ProtocolViolation("the evidence token has no ES256 signature")
    if header != {"alg": "ES256", "kid": claims.record, "typ": "eat+jwt"}:
        raise ProtocolViolation("the evidence token has a foreign header")
    _check_claims(claims)
    return claims


def _check_claims(claims: EvidenceClaims) -> None:
    names = [model.modality for model in claims.modalities]
    if claims.eat_profile != EAT_PROFILE:
        raise ProtocolViolation("the evidence has another profile")
    if not names or len(set(names)) != len(names) or len(claims.commitments) != len(names):
        raise ProtocolViolation("modalities and commitments of the evidence do not pair up")
    if any(len(leaf) != 32 for leaf in claims.commitments):
        raise ProtocolViolation("a commitment has another length than 32 bytes")
    if claims.commitment != merkle_root(claims.commitments):
        raise ProtocolViolation("the commitments do not hash to their root")
    _check_tags(claims)
    if not (0 <= claims.quality < LEVELS and 0 <= claims.margin < LEVELS):
        raise ProtocolViolation("a bucket of the evidence is out of range")
    if not (0 <= claims.elapsed <= len(ELAPSED_BOUNDS_S) and claims.counter >= 0):
        raise ProtocolViolation("a bucket of the evidence is out of range")


def _check_tags(claims: EvidenceClaims) -> None:
    if isinstance(claims.replay, msgspec.UnsetType):
        return
    if len(claims.replay) != len(claims.modalities):
        raise ProtocolViolation("modalities and replay tags of the evidence do not pair up")
    if any(len(tag) not in {0, TAG_BYTES} for tag in claims.replay):
        raise ProtocolViolation(f"a replay tag has another length than {TAG_BYTES} bytes")
