"""Signals of network behaviour: who may say what about whom, kept as rows, and drawn into a node's standing."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, true, update

from authority import audit, standing
from authority.alerts import raise_alert
from authority.conduct import KEEP_S, counted, signal_of, still_counts
from authority.refusal import Refused
from authority.runtime import Push, Refusal, Runtime
from authority.store import schema
from authority.trust import CUT_OFF, Origin, Signal, dominates
from protocol.levels import NodeState, Tier
from protocol.problems import ErrorCode
from protocol.signals import Severity, SignalOutcome, SignalReceipt, SignalReport

AHEAD_S = 300.0
"""How far a source's clock may be ahead of ours."""
HOSTILE = "confirmed-hostile"
MOST_OF_A_NODE = 256
"""Signals of one node about one node that may count at a time; a tap's number is bounded by its rate alone."""
_CUT_OFF = tuple(state.value for state in CUT_OFF)


@dataclass(frozen=True)
class Source:
    """Who speaks, as the connection proved it: a node's id, or the name of an operator's token."""

    reporter: str
    node: bool


def record(
    conn: Connection, rt: Runtime, source: Source, report: SignalReport, now: float
) -> tuple[SignalReceipt, list[Push]]:
    """Enter a report once and draw the consequences; raises `Refused`.

    A node speaks about itself, and about a node with which it shares a network while it has a voice: neither cut off
    nor in the low tier. A token with the scope `signal` speaks about every node and is believed alone.
    """
    node_id, origin = _subject(conn, source, report.node)
    known = _known(conn, origin, source.reporter, report)
    if known is not None:
        return _again(known, node_id, report), []
    signal = _signal(origin, source, report, now)
    said = _said(conn, node_id, signal, now)
    if any(dominates(each, signal) for _, each in said):
        return SignalReceipt(ref=report.ref, outcome=SignalOutcome.COVERED), []
    if source.node and len(said) >= MOST_OF_A_NODE:
        raise Refused(ErrorCode.TOO_MANY_TRIES, 429, "too many signals about this node count already", "Wait.")
    _end(conn, [row for row, each in said if dominates(signal, each)], now)
    _enter(conn, node_id, signal, report, now)
    _forget(conn, now)
    return SignalReceipt(ref=report.ref, outcome=SignalOutcome.RECORDED), _settle(conn, rt, node_id, now)


def confirm_hostile(conn: Connection, rt: Runtime, node_id: str, actor: str, reason: str, now: float) -> list[Push]:
    """An operator confirms that the node is hostile: its score is capped until an operator absolves it."""
    if any(each.origin is Origin.OPERATOR for each in counted(conn, node_id, now)):
        return []
    signal = Signal(Origin.OPERATOR, actor[:80], HOSTILE, Severity.CRITICAL, 1000, now)
    values = {"source": "operator", "ref": rt.random(16).hex()}
    conn.execute(insert(schema.signal).values(**_columns(node_id, signal, now), **values))
    audit.append(conn, "hostile-confirmed", actor, node_id, {"reason": reason}, now)
    _alert_hostile(conn, node_id, HOSTILE, actor, now)
    return _settle(conn, rt, node_id, now)


def absolve(conn: Connection, rt: Runtime, node_id: str, actor: str, reason: str, now: float) -> list[Push]:
    """An operator ends every signal against the node, whoever sent it; raises `Refused` where there is none."""
    row = schema.signal
    live = (row.c.node_id == node_id) & still_counts(now)
    kinds = sorted({*conn.scalars(select(row.c.kind).where(live))})
    if not kinds:
        raise Refusal("no signal speaks against this node", "Look at the node's score with `node show`.")
    conn.execute(update(row).where(live).values(ended_at=now))
    audit.append(conn, "absolved", actor, node_id, {"kinds": kinds, "reason": reason}, now)
    return _settle(conn, rt, node_id, now)


def signal_list(
    conn: Connection, node_id: str | None, now: float, limit: int = 500, before: int = 0
) -> list[dict[str, Any]]:
    """Signals that have neither ended nor expired, newest first; those older than the one numbered `before`."""
    row, node = schema.signal, schema.node
    query = (
        select(row, node.c.name.label("node"))
        .join(node)
        .where(still_counts(now), row.c.id < before if before else true())
        .order_by(row.c.id.desc())
        .limit(limit)
    )
    names = ("id", "node", "origin", "reporter", "source", "ref", "kind", "severity", "confidence", "observed_at")
    rows = conn.execute((query if node_id is None else query.where(row.c.node_id == node_id)).limit(limit))
    return [{name: getattr(each, name) for name in (*names, "received_at", "expires_at")} for each in rows]


def _subject(conn: Connection, source: Source, name: str) -> tuple[str, Origin]:
    """The node that a report is about, and what the source is to it.

    A node is told the same of a stranger and of nobody, so that it learns no names.
    """
    found = _find(conn, name)
    if not source.node:
        if found is None:
            raise Refused(ErrorCode.NOT_FOUND, 404, "no single node has this name or address", "Name it by its id.")
        return found, Origin.TAP
    if found == source.reporter:
        return found, Origin.SELF
    if found is None or not _share_network(conn, source.reporter, found):
        raise Refused(ErrorCode.NOT_FOUND, 404, "no peer of this node has this name or address", "Name a peer.")
    if not _has_voice(conn, source.reporter):
        raise Refused(ErrorCode.FORBIDDEN, 403, "this node's word about others does not count now", "Raise its tier.")
    return found, Origin.PEER


def _find(conn: Connection, name: str) -> str | None:
    """The one node with this name, id, or address in a network."""
    node, member = schema.node, schema.member
    found = {*conn.scalars(select(node.c.id).where((node.c.name == name) | (node.c.id == name)))}
    if not found:
        found = {*conn.scalars(select(member.c.node_id).where(member.c.address == _address(name)))}
    return found.pop() if len(found) == 1 else None


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _share_network(conn: Connection, one: str, other: str) -> bool:
    mine, theirs = schema.member, schema.member.alias("theirs")
    both = (mine.c.node_id == one) & (theirs.c.node_id == other) & (mine.c.network == theirs.c.network)
    return conn.execute(select(mine.c.network).where(both)).first() is not None


def _has_voice(conn: Connection, node_id: str) -> bool:
    node = conn.execute(select(schema.node.c.state, schema.node.c.tier).where(schema.node.c.id == node_id)).one()
    return node.state not in _CUT_OFF and node.tier != Tier.LOW.value


def _known(conn: Connection, origin: Origin, reporter: str, report: SignalReport) -> Row[Any] | None:
    row = schema.signal
    same = (row.c.reporter == reporter) & (row.c.source == report.source) & (row.c.ref == report.ref)
    return conn.execute(select(row).where((row.c.origin == origin.value) & same)).first()


def _again(known: Row[Any], node_id: str, report: SignalReport) -> SignalReceipt:
    """The same once more; another report under a number that was used is refused, not taken for it."""
    said = (known.node_id, known.kind, known.severity, known.confidence, known.observed_at)
    if said != (node_id, report.kind, report.severity.value, report.confidence, report.observed_at):
        raise Refused(ErrorCode.REPLAYED, 409, "another signal had this ref", "Give every signal a ref of its own.")
    return SignalReceipt(ref=report.ref, outcome=SignalOutcome.KNOWN)


def _signal(origin: Origin, source: Source, report: SignalReport, now: float) -> Signal:
    if report.observed_at > now + AHEAD_S:
        raise Refused(ErrorCode.MALFORMED, 422, "the signal was observed in the future", "Set the source's clock.")
    at = min(report.observed_at, now)
    if at + report.ttl <= now:
        raise Refused(ErrorCode.MALFORMED, 422, "the signal has expired already", "Send signals as they occur.")
    reporter, ends = source.reporter, at + report.ttl
    return Signal(origin, reporter, report.kind, report.severity, report.confidence, at, ends)


def _said(conn: Connection, node_id: str, signal: Signal, now: float) -> list[tuple[int, Signal]]:
    """What the same reporter has said of the node that still counts."""
    row = schema.signal
    mine = (row.c.node_id == node_id) & (row.c.reporter == signal.reporter) & (row.c.origin == signal.origin.value)
    return [(each.id, signal_of(each)) for each in conn.execute(select(row).where(still_counts(now) & mine))]


def _end(conn: Connection, ids: Sequence[int], now: float) -> None:
    if ids:
        conn.execute(update(schema.signal).where(schema.signal.c.id.in_(ids)).values(ended_at=now))


def _enter(conn: Connection, node_id: str, signal: Signal, report: SignalReport, now: float) -> None:
    values = _columns(node_id, signal, now) | {"observed_at": report.observed_at}
    conn.execute(insert(schema.signal).values(**values, source=report.source, ref=report.ref))
    detail = {
        "origin": signal.origin.value,
        "source": report.source,
        "kind": signal.kind,
        "severity": signal.severity.value,
        "confidence": signal.confidence,
        "ref": report.ref,
    }
    audit.append(conn, "signal", signal.reporter, node_id, detail, now)
    if signal.origin is Origin.TAP and signal.severity is Severity.CRITICAL:
        _alert_hostile(conn, node_id, signal.kind, signal.reporter, now)


def _columns(node_id: str, signal: Signal, now: float) -> dict[str, Any]:
    return {
        "node_id": node_id,
        "origin": signal.origin.value,
        "reporter": signal.reporter,
        "kind": signal.kind,
        "severity": signal.severity.value,
        "confidence": signal.confidence,
        "observed_at": signal.at,
        "received_at": now,
        "expires_at": signal.until if math.isfinite(signal.until) else None,
    }


def _alert_hostile(conn: Connection, node_id: str, kind: str, reporter: str, now: float) -> None:
    name = conn.scalar(select(schema.node.c.name).where(schema.node.c.id == node_id))
    text = f"{name}: {kind} reported by {reporter}"
    raise_alert(conn, "critical", "node-hostile", node_id, text, {"kind": kind, "reporter": reporter}, now)


def _settle(conn: Connection, rt: Runtime, node_id: str, now: float) -> list[Push]:
    """Nodes that hold no key by their state keep it; the others' standing follows at once."""
    state = conn.scalar(select(schema.node.c.state).where(schema.node.c.id == node_id))
    settled = {NodeState.PENDING.value, NodeState.BANNED.value, NodeState.RETIRED.value}
    return [] if state in settled else standing.refresh(conn, rt, node_id, now)


def _forget(conn: Connection, now: float) -> None:
    row = schema.signal
    conn.execute(delete(row).where((row.c.expires_at < now - KEEP_S) & (row.c.received_at < now - KEEP_S)))
