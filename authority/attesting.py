"""Quotes of registered nodes: fresh, by the enrolled AK, in the reference state, with a clock that does not go back.

A node whose enclave attests to nothing has an identity key, whose statement stands in the quote's place.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, update

from authority.enclaves import enclave_key, verify_statement
from authority.runtime import Runtime
from authority.store import schema
from authority.tpm import Quote, TpmFormatError, verify_quote
from protocol.codec import decode
from protocol.levels import EnclaveKind
from protocol.messages import QuoteEvidence

CLOCK_SLACK_MS = 60_000
"""Two quotes of one node may arrive in another order than they were made."""


class StateChanged(Exception):
    """A sound quote over another machine state than the reference; the text names the registers."""


class ClockWentBack(Exception):
    """A sound quote by a TPM that was reset, restored or cloned to an earlier time."""


class RegistrationUnreadable(Exception):
    """What the authority itself keeps of the node cannot be read: a fault of ours that proves nothing of the node."""


def check_quote(conn: Connection, rt: Runtime, node: Row[Any], evidence: QuoteEvidence, extra_data: bytes) -> None:
    """Check a quote, and keep the node's newest TPM clock; or a statement, where the node has no TPM.

    Which of the two it must be follows from the node's registration. Raises `authority.tpm.TpmRejected` when it does
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
    _check_reference(quote, reference)
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
    try:
        return {index: bytes.fromhex(value) for index, value in decode(node.reference_pcrs, dict[int, str]).items()}
    except ValueError as error:
        raise RegistrationUnreadable(f"the node's registration cannot be read: {error}") from None


def _check_reference(quote: Quote, reference: dict[int, bytes]) -> None:
    """A register without a reference value, after a change of the policy's selection, is not in its reference state."""
    changed = sorted(index for index, value in quote.pcrs.items() if reference.get(index) != value)
    if changed:
        raise StateChanged(f"the machine's state differs from its reference in PCR {', '.join(map(str, changed))}")
