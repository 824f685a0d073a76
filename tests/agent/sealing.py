"""The authority's half of sealed profiles as the agent's tests need it: shares, approvals, a made-up person."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from numpy.typing import NDArray

from agent.enclave import EnclaveGate
from agent.errors import AgentError
from agent.identity import Identity
from agent.point import uncompressed_point
from agent.profile import Bound, OpenProfile, ProfileDraft, ProfileVault, Sealed, Sealing, Unlocked
from agent.state import StateDirectory
from hal import Approval, AuthorisationFailed, CertifiedKey, Enclave, SealAuthority
from protocol.codec import encode
from protocol.guard import FLOOR_LABEL, STATE_REFERENCE
from protocol.messages import Activation, EnrolSession, ModalityModel, SensorIdentity, StateApproval
from protocol.release import ReleasedShares, challenge_release_info, enrolment_release_info
from tests.agent.people import BindableText, TextFeatures, pipelines, sensor
from tests.agent.world import NODE, SELECTION, raw_signature

RECORD = "0123456789abcdef"
TEMPLATES = {"fingerprint": b"a finger's template"}
SIDES = {"face": b"", "voice": b"how a voice says digits"}
CODES = {"face": "dlib-128", "voice": "campplus-192"}
_DIMENSIONS = {"dlib-128": 128, "campplus-192": 192}


@dataclass
class Holder:
    """The authority's half of one profile: its shares, and the key that approves states and lifts locks."""

    number: int = 1
    shares: dict[int, bytes] = field(default_factory=dict)
    approval_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def point(self) -> bytes:
        return self.approval_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def first(self) -> ReleasedShares:
        """What an enrolment gets."""
        return ReleasedShares(number=self.number, present=self._share(self.number))

    @property
    def both(self) -> ReleasedShares:
        """What an activation brings."""
        present, following = self._share(self.number), self._share(self.number + 1)
        return ReleasedShares(number=self.number, present=present, following=following)

    def settle(self, said: object) -> None:
        """The node says which share its record opens with."""
        if said == self.number + 1:
            del self.shares[self.number]
            self.number += 1

    def approval(self, enclave: Enclave, version: int | None = None, selection: Sequence[int] = SELECTION) -> Approval:
        """Of the state that the enclave is in."""
        authority = SealAuthority(self.point, STATE_REFERENCE, FLOOR_LABEL)
        version = enclave.counter(FLOOR_LABEL) if version is None else version
        policy = enclave.pcr_policy(tuple(selection), authority, version)
        return Approval(policy, raw_signature(self.approval_key, policy + STATE_REFERENCE), tuple(selection), version)

    def wired(self, enclave: Enclave) -> StateApproval:
        """The approval as an activation has it."""
        given = self.approval(enclave)
        return StateApproval(
            policy=given.policy, signature=given.signature, selection=[*given.selection], version=given.version
        )

    def activation(self, enclave: Enclave, delivery: CertifiedKey, **fields: object) -> Activation:
        """A challenge that the authority activated."""
        known: dict[str, object] = {
            "challenge_id": "c1",
            "record_id": "r1",
            "nonce": b"n" * 32,
            "digits": "4719",
            "gestures": ["blink", "left"],
            "deadline_s": 60.0,
            "pcr_selection": SELECTION,
        }
        made = known | fields
        share = self.for_challenge(delivery, made["record_id"], made["challenge_id"], made["nonce"])  # type: ignore[arg-type]
        return Activation(**made, sealed_share=share, approval=self.wired(enclave))  # type: ignore[arg-type]

    def for_challenge(self, delivery: CertifiedKey, record: str, challenge: str, nonce: bytes) -> bytes:
        """Both shares sealed to a node's delivery key."""
        return sealed_to(delivery, challenge_release_info(NODE, record, challenge, nonce), self.both)

    def session(self, identity: Identity, **fields: object) -> EnrolSession:
        """An enrolment that the authority opened."""
        known: dict[str, object] = {
            "enrolment_id": "e1",
            "nonce": b"n" * 32,
            "record_id": "r9",
            "modalities": ["fingerprint", "face", "voice"],
            "consent_version": "1",
            "consent_text": "May we?",
            "expires_at": 9e9,
        }
        made = known | fields
        info = enrolment_release_info(identity.node_id, made["record_id"], made["enrolment_id"], made["nonce"])  # type: ignore[arg-type]
        share = sealed_to(identity.delivery_key.certified(), info, self.first)
        return EnrolSession(**made, sealed_share=share, approval_key=self.point)  # type: ignore[arg-type]

    def _share(self, number: int) -> bytes:
        return self.shares.setdefault(number, os.urandom(32))


def sealed_to(key: CertifiedKey, info: bytes, shares: ReleasedShares) -> bytes:
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), uncompressed_point(key.public))
    return Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM).encrypt(encode(shares), public, info=info)


def embedding(seed: int, code: str) -> NDArray[np.float32]:
    """A made-up person's, of length one."""
    drawn = np.random.default_rng(seed).normal(size=_DIMENSIONS[code])
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def probes(seed: int = 1, names: Sequence[str] = ("face", "voice")) -> dict[str, NDArray[np.float32]]:
    """What a person with this seed presents."""
    return {name: embedding(seed, CODES[name]) for name in names}


def bound(seed: int = 1) -> dict[str, Bound]:
    return {name: Bound(code, embedding(seed, code), SIDES[name]) for name, code in CODES.items()}


def draft(record: str = RECORD, past: Mapping[str, Sequence[bytes]] | None = None, seed: int = 1) -> ProfileDraft:
    names = ("fingerprint", "face", "voice")
    sensor = SensorIdentity(
        kind="camera", driver="opencv", driver_sha256="0" * 64, transport="v4l2", port="/dev/video0"
    )
    models = [ModalityModel(modality=name, model="m", parameters="1") for name in names]
    return ProfileDraft(record, "alice", models, [sensor], "1", 5.0, TEMPLATES, bound(seed), past or {})


@dataclass
class Node:
    """One profile at a node with a TPM, and the authority's half of it."""

    gate: EnclaveGate
    state: StateDirectory
    vault: ProfileVault
    holder: Holder = field(default_factory=Holder)
    sealed: Sealed | None = None

    def enrol(self, made: ProfileDraft | None = None) -> Sealed:
        with self.gate.use() as enclave:
            sealing = Sealing(NODE, self.holder.first, self.holder.point, True, bytes(32))
            self.sealed = self.vault.seal(enclave, made or draft(), sealing)
        return self.sealed

    def open(self, shares: ReleasedShares | None = None, node: str = NODE, record: str = RECORD) -> OpenProfile:
        with self.gate.use() as enclave:
            return self.vault.open(enclave, node, record, shares or self.holder.both, self.holder.approval(enclave))

    def unlock(self, seed: int = 1, released: Sequence[str] = ("fingerprint",)) -> tuple[Unlocked, bytes] | None:
        """What signs 32 zeros, with the signature; `None` when no root that the person opens does."""
        attempts = self.open().attempts(probes(seed), frozenset(released))
        with self.gate.use() as enclave:
            for attempt in attempts:
                try:
                    return attempt, attempt.sign(enclave, bytes(32))
                except AuthorisationFailed:
                    continue
        return None

    def present(self, **captures: bytes) -> int:
        """A whole presentation of the person, refreshed as far as it goes; the share that the node says it uses."""
        found = self.unlock()
        if found is None:
            raise AgentError("nothing opened")
        digests = {name: [digest] for name, digest in captures.items()}
        self.vault.accept(found[0].version, digests)
        with self.gate.use() as enclave:
            said = self.vault.refresh(enclave, found[0], self.holder.both, digests)
        self.holder.settle(said)
        return said


def text_draft(record: str, shown: Mapping[str, str]) -> ProfileDraft:
    """Somebody who was enrolled with one text of each modality (`tests.agent.people`)."""
    made = pipelines()
    samples = {name: [TextFeatures(text)] for name, text in shown.items()}
    binding = {name: one for name, one in made.items() if isinstance(one, BindableText)}
    templates = {name: made[name].enrol(samples[name]) for name in shown if name not in binding}
    secrets = {
        name: Bound(one.code, one.embedding(samples[name]), one.side(samples[name])) for name, one in binding.items()
    }
    models, sensors = [made[name].model for name in shown], [sensor(name) for name in shown]
    return ProfileDraft(record, "alice", models, sensors, "1", 0.0, templates, secrets)
