"""Orders carried out, the audit log and its proofs, reference values, attestation results, tokens, tickets."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from authority.api._base import Answer
from authority.trust.policy import Policy
from protocol.levels import NodeState


class Done(Answer, frozen=True):
    """An order was carried out."""

    ok: bool


class RevokedRecord(Answer, frozen=True):
    """A record of an administrator at a node: what its profile was, and when the node said that nothing is left."""

    node: str
    record_id: str
    was: str
    gone_at: float | None


class Revocation(Done, frozen=True):
    """An administrator is revoked at every node; `tickets` is how many tickets of theirs are void with it.

    `records` is how many records were, or still are, to be removed; `nodes` names the first thousand at most.
    `order` is the number of the order that destroys and tells of them in passes.
    """

    admin: str
    tickets: int
    nodes: list[RevokedRecord]
    records: int
    order: int | None


class FleetOrder(Answer, frozen=True):
    """An order over the whole fleet, and how far its passes have come: `done` of `total` records or nodes.

    `subject` is an administrator, or the label of a policy.
    """

    id: int
    kind: Literal["revoke", "policy"]
    subject: str
    actor: str
    reason: str
    begun_at: float
    total: int
    done: int
    ended_at: float | None
    state: Literal["under-way", "done", "superseded"]


class Waiting(Answer, frozen=True):
    """An order that waits for a second operator, under this number."""

    ok: bool
    approval: int


class Approval(Answer, frozen=True):
    """An order of one operator, and what another made of it; `arguments` is exactly what would be carried out."""

    id: int
    action: str
    target: str
    arguments: dict[str, Any]
    requested_by: str
    reason: str
    requested_at: float
    expires_at: float
    state: str
    decided_by: str
    decided_at: float | None
    decision: str


class AuditRecord(Answer, frozen=True):
    """A record of the audit log; `hash` is its leaf hash (RFC 9162, 2.1.1)."""

    seq: int
    at: float
    kind: str
    actor: str
    node_id: str | None
    hash: str
    data: dict[str, Any]


class AuditReport(Answer, frozen=True):
    """What building the log's tree anew has found."""

    intact: bool
    length: int
    root: str
    checkpoints: int
    broken_at: int | None
    reason: str


class AuditCheckpoint(Answer, frozen=True):
    """A signed checkpoint (C2SP signed note), and the certificate (DER, hexadecimal) of the key that signed it."""

    size: int
    root: str
    note: str
    at: float
    certificate: str


class AuditProof(AuditCheckpoint, frozen=True):
    """A record (canonical bytes, hexadecimal), and the hashes from it to the checkpoint's root."""

    record: str
    proof: list[str]


class EvidenceProof(AuditProof, frozen=True):
    """The record of what a challenge's evidence committed to."""

    seq: int


class Consistency(Answer, frozen=True):
    """Hashes that show one checkpoint to continue another (RFC 9162, 2.1.4)."""

    proof: list[str]


class Reference(Answer, frozen=True):
    """A reference value of a node; `value` is register or name to digest, `log` whether its event log is known."""

    id: int
    kind: str
    state: str
    node: str
    value: dict[str, str]
    origin: int | None
    first_seen_at: float | None
    last_seen_at: float | None
    held_at: float | None
    decided_at: float | None
    decided_by: str | None
    log: bool


class DriverFollower(Answer, frozen=True):
    """Driver code (SHA-256) that may stand in for other code; `withdrawn_at` is there once it may no longer."""

    id: int
    old: str
    new: str
    reason: str
    allowed_by: str
    allowed_at: float
    withdrawn_by: str | None
    withdrawn_at: float | None


class ReferenceDetail(Reference, frozen=True):
    """What is different about a value than about the one that held before: digests, and events where they are known."""

    changes: dict[str, list[str]]
    events: dict[str, list[list[Any]]] | None


class RolloutNode(Answer, frozen=True):
    """A node that a value was rolled out to: whether it has shown the value since, and whether it fails now."""

    node: str
    value_id: int
    canary: bool
    state: str
    node_state: NodeState
    decided_at: float | None
    held: bool
    failing: bool


class RolledOut(Answer, frozen=True):
    """At how many nodes a value was accepted or withdrawn."""

    ok: bool
    nodes: int


class AttestationResult(Answer, frozen=True):
    """An EAR (draft-ietf-rats-ear-04) as JWT."""

    ear: str


class IssuedResult(Answer, frozen=True):
    """An EAR as it was issued; `cause` is `verdict` (evidence was appraised) or `standing` (state or tier changed)."""

    id: int
    at: float
    node: str
    node_id: str
    cause: str
    ear: str


class ResultSubscriber(Answer, frozen=True):
    """Who is sent attestation results, and what became of them there."""

    name: str
    waiting: int
    sent: int
    failed: int
    dropped: int
    last_sent_at: float | None
    last_error: str | None
    last_error_at: float | None
    stuck: bool


class PublicKey(Answer, frozen=True):
    """A key (RFC 7517)."""

    kty: str
    crv: str
    x: str
    y: str
    kid: str
    use: str
    alg: str


class KeySet(Answer, frozen=True):
    """The keys that attestation results are verified with."""

    keys: list[PublicKey]


class PolicyIdentity(Answer, frozen=True):
    """Label and hash of the policy in force."""

    version: str
    sha256: str


class PolicyInForce(Policy, frozen=True, kw_only=True):
    """Every setting of the policy in force, and its hash."""

    sha256: str


class Token(Answer, frozen=True):
    """A credential of an operator: whose, of what kind, for what, until when.

    `identity` is as whom an identity provider knows the operator, empty where nobody said so.
    """

    name: str
    kind: str
    identity: str
    scopes: list[str]
    created_at: float
    expires_at: float


class Person(Answer, frozen=True):
    """Somebody whom an identity provider vouches for; `state` is `standing`, `absent` or `shut-out`.

    Of whoever was not seen for long no order and no vote stands.
    """

    name: str
    provider: str
    subject: str
    scopes: list[str]
    first_seen_at: float
    seen_at: float
    state: str
    shut_out_by: str


class NewToken(Answer, frozen=True):
    """A token, which is shown only here; without it where whoever asked had made it."""

    name: str
    scopes: list[str]
    expires_at: float
    token: str | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return f"NewToken(name={self.name!r})"


class Revoked(Answer, frozen=True):
    """A token that is good for nothing any more."""

    name: str
    revoked: bool


class JoinToken(Answer, frozen=True):
    """A one-time token for a node; it is shown only here."""

    name: str
    token: str
    expires_at: float

    def __repr__(self) -> str:
        return f"JoinToken(name={self.name!r})"


class Ticket(Answer, frozen=True):
    """A one-time ticket and its PIN, for an administrator; they are shown only here."""

    admin: str
    node: str
    ticket: str
    pin: str

    def __repr__(self) -> str:
        return f"Ticket(admin={self.admin!r}, node={self.node!r})"


class TpmValues(Answer, frozen=True):
    """The authorisation values of a node's TPM, in hexadecimal."""

    owner: str
    lockout: str

    def __repr__(self) -> str:
        return "TpmValues()"
