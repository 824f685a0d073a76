"""Quotes of registered nodes: fresh, by the enrolled AK, in the reference state, with a clock that does not go back.

A node whose enclave attests to nothing has an identity key, whose statement stands in the quote's place.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, update

from authority import audit, references
from authority.enclaves import enclave_key, verify_statement
from authority.references import Kind
from authority.runtime import Runtime
from authority.store import schema
from authority.tpm import (
    Algorithm,
    LoggedEvent,
    Quote,
    TpmFormatError,
    TpmRejected,
    data_hashes,
    explain,
    parse_event_log,
    verify_quote,
)
from protocol.codec import decode
from protocol.levels import EnclaveKind
from protocol.messages import QuoteEvidence

LONGEST_TEXT = 200
"""Bytes of a logged event's data that are kept for people."""
CLOCK_SLACK_MS = 60_000
"""Two quotes of one node may arrive in another order than they were made."""


class StateChanged(Exception):
    """A sound quote over another machine state than the reference; the text names the registers."""


class ClockWentBack(Exception):
    """A sound quote by a TPM that was reset, restored or cloned to an earlier time."""


class RegistrationUnreadable(Exception):
    """What the authority itself keeps of the node cannot be read: a fault of ours that proves nothing of the node."""


def check_quote(
    conn: Connection,
    rt: Runtime,
    node: Row[Any],
    evidence: QuoteEvidence,
    extra_data: bytes,
    now: float,
    event_log: bytes | None = None,
) -> None:
    """Check a quote, and keep the node's newest TPM clock; or a statement, where the node has no TPM.

    Which of the two it must be follows from the node's registration. A sound quote over a state that nobody accepted is
    kept for review, with what the log says of it, and refused. Raises `authority.tpm.TpmRejected` when it does
    not hold, `StateChanged`, `ClockWentBack`, and `RegistrationUnreadable`.
    """
    kind = _kind(node)
    if kind is not EnclaveKind.TPM2:
        verify_statement(kind, node.ak_public, evidence, extra_data)
        return
    reference = _reference(node)
    selection = rt.policy.attestation.pcr_selection
    quote = verify_quote(evidence.attest, evidence.signature, node.ak_public, extra_data, selection, evidence.pcrs)
    _check_clock(quote, node)
    try:
        _check_reference(conn, node, quote, reference, now)
    finally:
        if event_log is not None:
            _keep_log(conn, node, quote, event_log, now)
    newest = max((quote.clock.reset_count, quote.clock.clock), (node.reset_count, node.clock))
    values = {"reset_count": newest[0], "clock": newest[1]}
    conn.execute(update(schema.node).where(schema.node.c.id == node.id).values(**values))


def _kind(node: Row[Any]) -> EnclaveKind:
    try:
        kind = EnclaveKind(node.enclave_kind)
        enclave_key(kind, node.ak_public)
    except (TpmFormatError, ValueError) as error:
        raise RegistrationUnreadable(f"the node's registration cannot be read: {error}") from None
    return kind


def _check_clock(quote: Quote, node: Row[Any]) -> None:
    if (quote.clock.reset_count, quote.clock.clock + CLOCK_SLACK_MS) < (node.reset_count, node.clock):
        raise ClockWentBack("the TPM's clock or reset counter went back")


def _reference(node: Row[Any]) -> dict[int, bytes]:
    """What the node was in when it joined; empty once that was taken back."""
    try:
        return {index: bytes.fromhex(value) for index, value in decode(node.reference_pcrs, dict[int, str]).items()}
    except ValueError as error:
        raise RegistrationUnreadable(f"the node's registration cannot be read: {error}") from None


def _check_reference(conn: Connection, node: Row[Any], quote: Quote, reference: dict[int, bytes], now: float) -> None:
    """A register without a reference value, after a change of the policy's selection, is not in its reference state."""
    value = register_texts(quote.pcrs)
    learned = all(reference.get(index) == pcr for index, pcr in quote.pcrs.items())
    if references.holds(conn, node.id, Kind.PCRS, value, now, learned=learned):
        return
    references.note_candidate(conn, node, Kind.PCRS, value, now)
    changed = sorted(index for index, pcr in quote.pcrs.items() if reference.get(index) != pcr)
    raise StateChanged(f"the machine's state differs from its reference in PCR {', '.join(map(str, changed))}")


def _keep_log(conn: Connection, node: Row[Any], quote: Quote, event_log: bytes, now: float) -> None:
    """Keep what a log says of the quoted state, if it leads to it. It is not signed: one that does not is nothing."""
    try:
        explain(event_log, {(Algorithm.SHA256, index): value for index, value in quote.pcrs.items()})
        events = parse_event_log(event_log).events
    except (TpmFormatError, TpmRejected) as error:
        audit.append(conn, "event-log-refused", node.id, node.id, {"cause": str(error)}, now)
        return
    quoted = [one for one in events if one.extends and one.pcr in quote.pcrs]
    references.keep_events(conn, node.id, register_texts(quote.pcrs), [_told(one) for one in quoted])


def _told(event: LoggedEvent) -> tuple[int, str, str, str]:
    """An event as operators see it; its data only where the digest is of just that."""
    genuine = data_hashes(event, Algorithm.SHA256)
    text = event.data[:LONGEST_TEXT].decode("utf-8", "replace") if genuine else ""
    shown = "".join(char for char in text if char.isprintable())
    return event.pcr, event.title, event.digests[Algorithm.SHA256].hex(), shown


def register_texts(pcrs: dict[int, bytes]) -> dict[str, str]:
    """PCR index to value, both as JSON has them."""
    return {str(index): value.hex() for index, value in sorted(pcrs.items())}
