"""A fleet for `bench_fleet.py`: nodes that answer as agents do, with keys in software, and some that turn bad.

All nodes share one set of keys; the authority parses and verifies them each time as it would many.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import count
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import Connection, insert

from authority import challenges, references, releases, scheduler
from authority.references import Kind
from authority.refusal import Refused
from authority.runtime import Push, Runtime
from authority.store import schema
from protocol.codec import b64url, encode
from protocol.digests import attest_digest, evidence_digest
from protocol.evidence import EAT_PROFILE, EvidenceClaims, encode_token, merkle_root
from protocol.messages import (
    Activation,
    AttestRequest,
    AttestSubmission,
    BeginRequest,
    EvidenceSubmission,
    QuoteEvidence,
    Summons,
)
from protocol.release import SHARE_BYTES
from tests.authority.nodes import MODALITIES, SELECTION, model, sensor
from tests.authority.tpm import forge
from tests.authority.world import tpm2b_public

PCRS = {pcr: bytes([pcr]) * 32 for pcr in SELECTION}
CERTIFICATE = "c" * 64
COMES_S = (20.0, 600.0)
"""From a summons to somebody at the node."""
ELAPSED_S = (6.0, 20.0)
"""From a begun challenge to its evidence."""
MISSED = 0.005
"""Of honest nodes' summonses."""
FLOOD = 20
"""Submissions after each challenge of a node that floods, all refused."""
YEAR_S = 365 * 86400.0
Ask = Callable[..., Any]
"""Runs `action(conn, rt, …, now)` as one transaction."""


class Habit(StrEnum):
    """What a node does from the moment on at which it turns."""

    HONEST = "honest"
    STOLEN = "stolen"
    """Somebody answers who has not the profile's key."""
    SILENT = "silent"
    """Nothing comes from it any more."""
    FLOODING = "flooding"
    """After each answer it sends evidence again and again."""


@dataclass(slots=True)
class Node:
    """One of the fleet."""

    node_id: str
    record_id: str
    habit: Habit
    turns_at: float
    counter: int = 0

    def habit_at(self, now: float) -> Habit:
        """What it is by then."""
        return self.habit if now >= self.turns_at else Habit.HONEST


class Keys:
    """What nodes sign with."""

    def __init__(self) -> None:
        self.forger = forge.Forger()
        self.profile, self.thief = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.profile_public = forge.ecc_public(self.profile, forge.SIGNER)
        self.delivery_public = tpm2b_public(ec.generate_private_key(ec.SECP256R1()).public_key())

    def quote(self, digest: bytes) -> QuoteEvidence:
        """A quote over the state in which all joined."""
        chosen = forge.selection((forge.SHA256, SELECTION))
        attest = self.forger.quote(chosen, forge.pcr_digest([*PCRS.values()]), extra=digest)
        return QuoteEvidence(attest=attest, signature=self.forger.sign(attest), pcrs=PCRS)

    def evidence(self, node: Node, activation: Activation, *, thief: bool) -> EvidenceSubmission:
        """Evidence for a challenge."""
        node.counter += 1
        leaves = [bytes([number]) * 32 for number in range(2)]
        claims = EvidenceClaims(
            eat_profile=EAT_PROFILE,
            iss=node.node_id,
            eat_nonce=b64url(activation.nonce),
            challenge=activation.challenge_id,
            record=activation.record_id,
            certificate=CERTIFICATE,
            modalities=[model(name) for name in MODALITIES[:2]],
            sensors=[sensor(name) for name in MODALITIES[:2]],
            commitments=leaves,
            commitment=merkle_root(leaves),
            elapsed=1,
            quality=4,
            margin=4,
            counter=node.counter,
            agent="bench/1",
        )
        token = encode_token(claims, partial(_sign, self.thief if thief else self.profile))
        return EvidenceSubmission(token=token, quote=self.quote(evidence_digest(token)))


class Fleet:
    """Nodes, and what they will do next in the order of time."""

    def __init__(self, ask: Ask, seed: int) -> None:
        self._ask, self._chance, self._keys = ask, random.Random(seed), Keys()
        self._order, self._next = count(), list[tuple[float, int, Callable[[float], None]]]()
        self.nodes: dict[str, Node] = {}
        self.outcomes: Counter[str] = Counter()

    def enter(self, conn: Connection, rt: Runtime, habits: Sequence[tuple[Habit, float]], *, now: float) -> None:
        """Register a node for each of these, with somebody enrolled there."""
        for habit, turns_at in habits:
            node = Node(rt.random(32).hex(), rt.random(16).hex(), habit, turns_at)
            self.nodes[node.node_id] = node
            name = f"n{len(self.nodes)}"
            conn.execute(insert(schema.node).values(**self._node_row(node, name), joined_at=now))
            references.learn(conn, node.node_id, Kind.PCRS, {str(pcr): each.hex() for pcr, each in PCRS.items()}, now)
            conn.execute(insert(schema.profile).values(**self._profile_row(rt, node), created_at=now))
            scheduler.add_schedule(conn, node.node_id, now + self._chance.uniform(0.0, 3600.0))

    def hear(self, pushes: Sequence[Push], now: float) -> None:
        """What nodes are told, and will act on."""
        for node_id, told in pushes:
            node = self.nodes[node_id]
            match told:
                case Summons():
                    self._at(now + self._chance.uniform(*COMES_S), partial(self._answer, node, told.challenge_id))
                case AttestRequest():
                    self._at(now + self._chance.uniform(0.0, 5.0), partial(self._attest, node, told.nonce))

    def act(self, until: float) -> None:
        """Everything that is to happen by then."""
        while self._next and self._next[0][0] <= until:
            at, _, action = heapq.heappop(self._next)
            action(at)

    def _at(self, at: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._next, (at, next(self._order), action))

    def _attest(self, node: Node, nonce: bytes, now: float) -> None:
        if node.habit_at(now) is not Habit.SILENT:
            made = AttestSubmission(nonce=nonce, quote=self._keys.quote(attest_digest(node.node_id, nonce)))
            self._say("attestation", now, challenges.attest, node.node_id, made)

    def _answer(self, node: Node, challenge_id: str, now: float) -> None:
        habit = node.habit_at(now)
        if habit is Habit.SILENT or (habit is not Habit.STOLEN and self._chance.random() < MISSED):
            return
        asked = BeginRequest(record_id=node.record_id)
        activation = self._say("begin", now, challenges.begin, node.node_id, challenge_id, asked)
        if activation is not None:
            self._at(now + self._chance.uniform(*ELAPSED_S), partial(self._submit, node, activation))

    def _submit(self, node: Node, activation: Activation, now: float) -> None:
        habit = node.habit_at(now)
        for _ in range(1 + (FLOOD if habit is Habit.FLOODING else 0)):
            made = self._keys.evidence(node, activation, thief=habit is Habit.STOLEN)
            where = (node.node_id, CERTIFICATE, activation.challenge_id)
            self._say("evidence", now, challenges.submit_evidence, *where, made)

    def _say(self, what: str, now: float, action: Callable[..., Any], *arguments: Any) -> Any:
        """The authority's answer; none where it refuses."""
        try:
            answer = self._ask(action, *arguments, now=now)
        except Refused as error:
            self.outcomes[f"{what}: {error.code.value}"] += 1
            return None
        if isinstance(answer, Activation):
            return answer
        result, pushes = answer
        self.outcomes[f"{what}: {result.outcome.value}"] += 1
        self.hear(pushes, now)
        return result

    def _node_row(self, node: Node, name: str) -> dict[str, Any]:
        keys = {"ak_public": self._keys.forger.public, "delivery_public": self._keys.delivery_public, "ek_public": b""}
        certificate = {"certificate_sha256": hashlib.sha256(name.encode()).hexdigest(), "certificate_not_after": 0.0}
        state = {"state": "pending", "lab": False, "ownership": "taken", "devices": "[]", "reference_pcrs": "{}"}
        return {"id": node.node_id, "name": name} | keys | certificate | state

    def _profile_row(self, rt: Runtime, node: Node) -> dict[str, Any]:
        share = releases.wrap(rt, node.record_id, releases.FIRST, rt.random(SHARE_BYTES))
        ids = {"record_id": node.record_id, "enrolment_id": rt.random(16).hex(), "node_id": node.node_id}
        made = {"modalities": encode([model(name) for name in MODALITIES]).decode()}
        made |= {"sensors": encode([sensor(name) for name in MODALITIES]).decode()}
        keys = {"public": self._keys.profile_public, "release_share": share, "share_number": releases.FIRST}
        return ids | made | keys | {"admin": "ada", "state": "active", "nonce": b"", "expires_at": 0.0}


def _sign(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    r, s = utils.decode_dss_signature(key.sign(digest, ec.ECDSA(utils.Prehashed(SHA256()))))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
