"""Suricata's EVE JSON lines (suricata.io, "Eve JSON Format"): alert events as signals. Strict, bounded, without I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import msgspec

from protocol.codec import ProtocolViolation
from protocol.signals import Severity, SignalReport

LONGEST_LINE = 256 * 1024
"""Bytes; an alert that carries its payload is the longest event."""
SOURCE = "suricata"
_SEVERITIES = {1: Severity.HIGH, 2: Severity.MEDIUM, 3: Severity.LOW}
"""Suricata counts down: 1 is the worst that a rule's class can be."""
_CONFIDENCES = {"high": 900, "medium": 700, "low": 400}
_UNSAID = 700
_AHEAD = re.compile(r"([+-]\d{2})(\d{2})$")

Address = Annotated[str, msgspec.Meta(min_length=2, max_length=45)]


class EveUnreadable(ProtocolViolation):
    """A line is no EVE event as Suricata writes it."""


class _End(msgspec.Struct, frozen=True):
    ip: Address


class _Alert(msgspec.Struct, frozen=True):
    signature_id: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
    severity: Annotated[int, msgspec.Meta(ge=0, le=255)]
    gid: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 1
    category: Annotated[str, msgspec.Meta(max_length=256)] = ""
    source: _End | None = None
    metadata: dict[str, Any] = {}


class _Event(msgspec.Struct, frozen=True):
    event_type: Annotated[str, msgspec.Meta(max_length=32)]
    timestamp: Annotated[str, msgspec.Meta(max_length=40)] = ""
    flow_id: Annotated[int, msgspec.Meta(ge=0)] = 0
    src_ip: Address | None = None
    alert: _Alert | None = None


@dataclass(frozen=True)
class EveRules:
    """How alerts become signals: node by address where the authority would not know it, critical signatures, time.

    An address that is not in `nodes` is sent as it is; the authority knows those of its networks' members.
    """

    nodes: Mapping[str, str] = field(default_factory=dict)
    critical: frozenset[int] = frozenset()
    ttl_s: float = 86400.0


def read_alert(line: bytes, rules: EveRules) -> SignalReport | None:
    """The signal in one line, or none for any other kind of event; raises `EveUnreadable`.

    The node is the rule's own source of the attack, if the rule names one (`target`), else where the packet came from.
    """
    if len(line) > LONGEST_LINE:
        raise EveUnreadable(f"a line is longer than {LONGEST_LINE} bytes")
    try:
        event = msgspec.json.decode(line, type=_Event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EveUnreadable(f"not an EVE event: {error}") from None
    if event.event_type != "alert":
        return None
    address = event.alert.source.ip if event.alert and event.alert.source else event.src_ip
    if event.alert is None or address is None:
        raise EveUnreadable("an alert without its rule or its address")
    return SignalReport(
        source=SOURCE,
        node=rules.nodes.get(address, address),
        kind=_kind(event.alert),
        severity=_severity(event.alert, rules),
        confidence=_confidence(event.alert),
        observed_at=_instant(event.timestamp),
        ttl=rules.ttl_s,
        ref=_ref(event, event.alert, address),
    )


def _kind(alert: _Alert) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", alert.category.lower()).strip("-")[:38].strip("-")
    return f"{SOURCE}:{words or alert.signature_id}"


def _severity(alert: _Alert, rules: EveRules) -> Severity:
    if alert.signature_id in rules.critical:
        return Severity.CRITICAL
    return _SEVERITIES.get(alert.severity, Severity.LOW)


def _confidence(alert: _Alert) -> int:
    """By the rule's own metadata (`confidence High`), which rule sets such as ET Open carry."""
    said = alert.metadata.get("confidence")
    word = said[0] if isinstance(said, list) and said else said
    return _CONFIDENCES.get(word.lower(), _UNSAID) if isinstance(word, str) else _UNSAID


def _instant(text: str) -> float:
    """POSIX seconds of "2026-11-27T10:00:00.123456+0000"; a time without its zone could be any."""
    try:
        moment = datetime.fromisoformat(_AHEAD.sub(r"\1:\2", text))
    except ValueError:
        raise EveUnreadable("an alert without a timestamp") from None
    if moment.tzinfo is None or moment.timestamp() < 0:
        raise EveUnreadable("a timestamp without its offset from UTC")
    return moment.timestamp()


def _ref(event: _Event, alert: _Alert, address: str) -> str:
    """The same line again, after a rotation or a restart, is the same signal."""
    said = f"{event.timestamp}|{event.flow_id}|{alert.gid}|{alert.signature_id}|{address}"
    return hashlib.sha256(said.encode()).hexdigest()[:40]
