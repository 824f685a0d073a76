"""Whether a record is in the log that a signed checkpoint covers: computed anew from record, proof and signature."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Row, select

from authority import audit, checkpoints
from authority.refusal import Refused
from authority.runtime import Runtime
from authority.store import schema
from protocol.checkpoint import open_checkpoint
from protocol.codec import ProtocolViolation
from protocol.merkle import includes, inclusion_proof, leaf_hash
from protocol.problems import ErrorCode


@dataclass(frozen=True)
class Proof:
    """A record's place under a checkpoint; `flaw` says what does not hold, empty when everything does."""

    seq: int
    leaf: bytes
    hashes: tuple[bytes, ...]
    size: int
    root: bytes
    note: str
    at: float
    flaw: str = ""


def prove(conn: Connection, rt: Runtime, seq: int, now: float) -> Proof:
    """The proof for a record, under the first checkpoint that covers it, or one made now; raises `Refused`."""
    row = conn.execute(select(schema.audit).where(schema.audit.c.seq == seq)).first()
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"the log has no record {seq}", "Look through the audit log.")
    made, leaf = _covering(conn, seq) or checkpoints.issue(conn, rt, now), leaf_hash(audit.record_bytes(row))
    try:
        hashes = tuple(inclusion_proof(seq - 1, made.size, audit.stored_nodes(conn)))
    except LookupError as error:
        return Proof(seq, leaf, (), made.size, bytes(made.root), made.note, made.at, str(error))
    flaw = _flaw(rt, made, seq, leaf, hashes)
    return Proof(seq, leaf, hashes, made.size, bytes(made.root), made.note, made.at, flaw)


def _flaw(rt: Runtime, made: Row[tuple[object, ...]], seq: int, leaf: bytes, hashes: tuple[bytes, ...]) -> str:
    if rt.log is None:
        return "this authority has no key to check the checkpoint with"
    key = x509.load_der_x509_certificate(rt.log.certificate).public_key()
    assert isinstance(key, Ed25519PublicKey)
    try:
        said = open_checkpoint(made.note, rt.log.origin, key)
    except ProtocolViolation as error:
        return str(error)
    if not includes(leaf, seq - 1, said.size, hashes, said.root):
        return f"the checkpoint of {said.size} records does not cover record {seq}"
    return ""


def _covering(conn: Connection, seq: int) -> Row[tuple[object, ...]] | None:
    row = schema.log_checkpoint
    return conn.execute(select(row).where(row.c.size >= seq).order_by(row.c.size).limit(1)).first()
