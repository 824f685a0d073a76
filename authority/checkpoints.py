"""Checkpoints of the audit log: signed now and then, pushed to nodes and alert sinks, proven on request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Row, insert, select

from authority import audit
from authority.alerts import Severity, raise_alert
from authority.refusal import Refused
from authority.runtime import Push, Runtime
from authority.store import schema
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.levels import NodeState
from protocol.merkle import consistency_proof, inclusion_proof, root
from protocol.messages import LogCheckpoint, LogConsistency
from protocol.problems import ErrorCode

_OUT = (NodeState.BANNED.value, NodeState.RETIRED.value)


@dataclass(frozen=True)
class LogSigner:
    """Signs checkpoints of the log `origin`; `certificate` (DER) is the CA's for the key."""

    origin: str
    certificate: bytes
    key: Ed25519PrivateKey = field(repr=False)

    def sign(self, size: int, tree_root: bytes) -> str:
        """The signed note over a tree."""
        return sign_checkpoint(Checkpoint(self.origin, size, tree_root), self.key)


def issue_if_due(conn: Connection, rt: Runtime, now: float) -> list[Push]:
    """A checkpoint for every node and sink, once the log has grown by enough records, or at all for long enough."""
    newest, size = _newest(conn), audit.log_size(conn)
    grown = size - (newest.size if newest is not None else 0)
    waited = newest is None or not 0 <= now - newest.at < rt.policy.log.checkpoint_s
    if rt.log is None or grown <= 0 or not (waited or grown >= rt.policy.log.checkpoint_records):
        return []
    note = issue(conn, rt, now).note
    event, node = LogCheckpoint(note=note, certificate=rt.log.certificate), schema.node
    raise_alert(conn, Severity.INFO, "log-checkpoint", None, f"audit log of {size} records", {"note": note}, now)
    return [(node_id, event) for node_id in conn.scalars(select(node.c.id).where(node.c.state.not_in(_OUT)))]


def issue(conn: Connection, rt: Runtime, now: float) -> Row[Any]:
    """The row of the checkpoint over everything that the log has now; raises `Refused` when it cannot be made."""
    size, row = audit.log_size(conn), schema.log_checkpoint
    found = conn.execute(select(row).where(row.c.size == size)).first()
    if found is not None:
        return found
    if rt.log is None or size == 0:
        raise Refused(ErrorCode.UNAVAILABLE, 503, "there is no checkpoint of the log", "Try again in a minute.")
    tree_root = root(size, audit.stored_nodes(conn))
    conn.execute(insert(row).values(size=size, root=tree_root, note=rt.log.sign(size, tree_root), at=now))
    return conn.execute(select(row).where(row.c.size == size)).one()


def current(conn: Connection, rt: Runtime) -> list[LogCheckpoint]:
    """The newest checkpoint that was given out, for a node that has just connected."""
    newest = _newest(conn)
    if newest is None or rt.log is None:
        return []
    return [LogCheckpoint(note=newest.note, certificate=rt.log.certificate)]


def consistency(conn: Connection, first: int, second: int) -> LogConsistency:
    """The proof that the log of `second` records begins with that of `first`; raises `Refused`."""
    size = audit.log_size(conn)
    if not 0 < first <= second <= size:
        raise Refused(ErrorCode.NOT_FOUND, 404, "the log has no such checkpoints", "Compare with a backup of the log.")
    return LogConsistency(hashes=consistency_proof(first, second, audit.stored_nodes(conn)))


def inclusion(conn: Connection, rt: Runtime, seq: int, now: float) -> dict[str, Any]:
    """A record, the hashes from it to the root, and a checkpoint over that root; raises `Refused`."""
    found = conn.execute(select(schema.audit).where(schema.audit.c.seq == seq)).first()
    if found is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"the log has no record {seq}", "List records with `audit list`.")
    made = issue(conn, rt, now)
    proof = inclusion_proof(seq - 1, made.size, audit.stored_nodes(conn))
    return {"record": audit.record_bytes(found).hex(), "proof": [each.hex() for each in proof], **described(rt, made)}


def described(rt: Runtime, row: Row[Any]) -> dict[str, Any]:
    """A checkpoint's row for operators, with the certificate that its signature is checked by."""
    certificate = rt.log.certificate.hex() if rt.log is not None else ""
    return {"size": row.size, "root": bytes(row.root).hex(), "note": row.note, "at": row.at, "certificate": certificate}


def _newest(conn: Connection) -> Row[Any] | None:
    row = schema.log_checkpoint
    return conn.execute(select(row).order_by(row.c.size.desc()).limit(1)).first()
