"""Quotes of registered nodes: fresh, by the enrolled AK, in the reference state, with a clock that does not go back."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, update

from authority.runtime import Runtime
from authority.store import schema
from authority.tpm import Quote, verify_quote
from protocol.messages import QuoteEvidence

CLOCK_SLACK_MS = 60_000
"""Two quotes of one node may arrive in another order than they were made."""


class StateChanged(Exception):
    """A sound quote over another machine state than the reference; the text names the registers."""


class ClockWentBack(Exception):
    """A sound quote by a TPM that was reset, restored or cloned to an earlier time."""


def check_quote(conn: Connection, rt: Runtime, node: Row[Any], evidence: QuoteEvidence, extra_data: bytes) -> Quote:
    """The verified quote; the node's newest TPM clock is kept.

    Raises `authority.tpm.TpmRejected` when it does not hold, `StateChanged`, and `ClockWentBack`.
    """
    selection = rt.policy.attestation.pcr_selection
    quote = verify_quote(evidence.attest, evidence.signature, node.ak_public, extra_data, selection, evidence.pcrs)
    _check_clock(quote, node)
    _check_reference(quote, node)
    newest = max((quote.clock.reset_count, quote.clock.clock), (node.reset_count, node.clock))
    values = {"reset_count": newest[0], "clock": newest[1]}
    conn.execute(update(schema.node).where(schema.node.c.id == node.id).values(**values))
    return quote


def _check_clock(quote: Quote, node: Row[Any]) -> None:
    if (quote.clock.reset_count, quote.clock.clock + CLOCK_SLACK_MS) < (node.reset_count, node.clock):
        raise ClockWentBack("the TPM's clock or reset counter went back")


def _check_reference(quote: Quote, node: Row[Any]) -> None:
    reference = {int(index): bytes.fromhex(value) for index, value in json.loads(node.reference_pcrs).items()}
    changed = sorted(index for index, value in quote.pcrs.items() if reference.get(index) != value)
    if changed:
        raise StateChanged(f"the machine's state differs from its reference in PCR {', '.join(map(str, changed))}")
