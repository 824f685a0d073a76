"""Signals: what somebody noticed of a node's behaviour on the network. Every one speaks against the node."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from protocol.bounds import Instant, Milli
from protocol.messages import Message

SHORTEST_TTL_S = 60.0
LONGEST_TTL_S = 30 * 86400.0
_TERM = r"\A[a-z0-9][a-z0-9._:-]{0,47}\Z"

Kind = Annotated[str, msgspec.Meta(pattern=_TERM)]
"""What was noticed, in up to 48 of a-z 0-9 . _ : - ("drops:management", "suricata:trojan-activity")."""

Lifetime = Annotated[float, msgspec.Meta(ge=SHORTEST_TTL_S, le=LONGEST_TTL_S)]
"""Seconds that a signal counts, from a minute to thirty days."""

Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""A node by its name, its id, or its address in a network."""

Reference = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._:/-]{1,80}\Z")]
"""The source's own number of a signal: the same one again changes nothing."""


class Severity(StrEnum):
    """How bad it is; in ascending order."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 to 3, the higher the worse."""
        return [*Severity].index(self)


class SignalReport(Message, frozen=True):
    """POST /v1/signals: `source` noticed `kind` of `node`, and is so sure of it (`confidence` in thousandths).

    Who reports is known by the certificate or token of the connection; `source` names one of several programs there.
    """

    source: Kind
    node: Subject
    kind: Kind
    severity: Severity
    confidence: Milli
    observed_at: Instant
    ttl: Lifetime
    ref: Reference


class SignalOutcome(StrEnum):
    """What became of a report: new, seen before by its `ref`, or said already by a signal that is no weaker."""

    RECORDED = "recorded"
    KNOWN = "known"
    COVERED = "covered"


class SignalReceipt(Message, frozen=True):
    """The authority's answer to a report; nothing of the node's standing is in it."""

    ref: str
    outcome: SignalOutcome
