"""NV certifications beside evidence: the counter grew, and the agent is one that was learned or accepted."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, update

from authority import references
from authority.attesting import ClockWentBack, StateChanged
from authority.references import Kind
from authority.store import schema
from authority.tpm import CertificationRejected, Reason, counter_index, measurement_index, verify_nv
from protocol.levels import EnclaveKind
from protocol.measurement import AGENT_LABEL, COUNTER_LABEL, extended
from protocol.messages import CertifiedPublic, NvEvidence

_COUNTER, _AGENT = counter_index(COUNTER_LABEL), measurement_index(AGENT_LABEL)
MAX_COUNTER = 2**53
"""Every JSON reader and the database keep integers up to here."""


def check_measurements(
    conn: Connection,
    node: Row[Any],
    evidence: NvEvidence | None,
    digest: bytes,
    now: float,
    *,
    required: bool,
    counted: bool = True,
) -> None:
    """Check both certifications over `digest`, the one that the quote is over, and keep the counter.

    A node that has shown them once has to from then on. Evidence that is not `counted` is fresh by its nonce alone: it
    may overtake what was counted before it, or be overtaken. Raises `authority.tpm.TpmRejected` when one does not hold,
    `ClockWentBack` for a counter that did not grow, and `StateChanged` for an agent that nobody accepted.
    """
    if node.enclave_kind != EnclaveKind.TPM2:
        return
    if evidence is None:
        if required or node.nv_counter is not None:
            raise CertificationRejected(Reason.MISSING, "the evidence leaves out the TPM's counter and measurement")
        return
    counter = int.from_bytes(_content(node, evidence.counter, digest, _COUNTER), "big")
    measured = _content(node, evidence.measurement, digest, _AGENT)
    if counted and (counter > MAX_COUNTER or (node.nv_counter is not None and counter <= node.nv_counter)):
        raise ClockWentBack("the TPM's counter of evidence did not grow")
    if not evidence.measured or extended(evidence.measured) != measured:
        raise CertificationRejected(Reason.OTHER_OBJECT, "what the agent measured does not lead to what the TPM holds")
    _check_agents(conn, node, evidence.measured, now)
    if counted:
        conn.execute(update(schema.node).where(schema.node.c.id == node.id).values(nv_counter=counter))


def _content(node: Row[Any], given: CertifiedPublic, digest: bytes, index: Any) -> bytes:
    return verify_nv(given.attest, given.signature, node.ak_public, digest, given.public, index)


def _check_agents(conn: Connection, node: Row[Any], measured: list[bytes], now: float) -> None:
    """Every agent that ran since the TPM's reset must be known: the first list that a node shows is learned."""
    first = not references.knows(conn, node.id, Kind.AGENT)
    unknown = False
    for value in ({"agent": digest.hex()} for digest in dict.fromkeys(measured)):
        if first:
            references.learn(conn, node.id, Kind.AGENT, value, now)
        elif not references.holds(conn, node.id, Kind.AGENT, value, now):
            references.note_candidate(conn, node, Kind.AGENT, value, now)
            unknown = True
    if unknown:
        raise StateChanged("an agent that nobody has accepted ran on the machine")
