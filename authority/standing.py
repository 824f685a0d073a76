"""A node's standing: what presentations, attestations, time and operators make of it, and what follows."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from authority import audit, braking, results
from authority.alerts import Severity, raise_alert
from authority.alerts.transitions import Change, notices
from authority.conduct import conduct_of
from authority.fleet_orders import bounded
from authority.keys.orchestrator import reissue
from authority.keys.stragglers import is_straggler
from authority.refusal import Refused
from authority.runtime import Push, Refusal, Runtime
from authority.store import schema
from authority.trust import (
    OPEN_CHALLENGES,
    Assessment,
    ChallengeState,
    Circumstances,
    Facts,
    OperatorAction,
    Presentation,
    PresentationKind,
    TransitionRefused,
    assess,
    distribute_key,
    effective_access,
    facts,
    next_state,
    ordered_state,
    tier_of,
)
from authority.verdict import NO_BASIS, Basis
from protocol.codec import ProtocolViolation, decode
from protocol.levels import NodeState, Ownership, Tier
from protocol.messages import StatusEvent
from protocol.problems import ErrorCode

_HISTORY_LENGTH = 64
_AUTHORITY = "authority"
_REFRESHED = schema.node.c.state.not_in([NodeState.PENDING.value, NodeState.BANNED.value, NodeState.RETIRED.value])
_NODE = select(schema.node).where(schema.node.c.id == bindparam("node"))
_ATTEST_DEADLINE = select(schema.schedule.c.attest_deadline_at).where(schema.schedule.c.node_id == bindparam("node"))
_NO_DEADLINE = (
    update(schema.schedule).where(schema.schedule.c.node_id == bindparam("node")).values(attest_deadline_at=None)
)
_NEWEST = (
    select(schema.presentation)
    .where(schema.presentation.c.node_id == bindparam("node"))
    .order_by(schema.presentation.c.seq.desc())
    .limit(_HISTORY_LENGTH)
)
"""Made once: a refresh of the fleet asks these for every node, and to make a statement costs more than to run it."""
_History = list[tuple[int, Presentation]]
"""Sequence numbers and presentations, oldest first."""


@dataclass(frozen=True)
class Standing:
    """A node's standing after an event; `score` in thousandths, `pushes` is what nodes are to be told."""

    score: int
    tier: Tier
    explanation: str
    state: NodeState
    pushes: list[Push]


def record_presentation(  # noqa: PLR0913, PLR0917 - one event with all that it carries
    conn: Connection,
    rt: Runtime,
    node_id: str,
    challenge_id: str,
    kind: PresentationKind | str,
    speed: int | None,
    quality: int | None,
    now: float,
    *,
    weak: bool = False,
    basis: Basis = NO_BASIS,
    note: str = "",
    shared: bool = False,
) -> Standing:
    """Enter a decided presentation and draw the consequences.

    `speed` and `quality` are thousandths and given for an accepted one; its verified quote also ends a failed machine
    attestation. `weak`, `basis` and `note` as in `Accepted`; `shared` when somebody presented themselves at the sensor
    node of the node's group. The caller closes the challenge's row.
    """
    kind = PresentationKind(kind)
    values = {"node_id": node_id, "challenge_id": challenge_id, "at": now, "kind": kind.value, "shared": shared}
    values |= {"models": json.dumps(basis.models), "modalities": json.dumps(basis.modalities)}
    more = {"speed": speed, "quality": quality, "weak": weak, "elapsed_s": basis.elapsed_s}
    conn.execute(insert(schema.presentation).values(**values, **more))
    detail: dict[str, Any] = {"challenge": challenge_id, "kind": kind.value, "speed": speed, "quality": quality}
    detail |= {"weak": weak, "models": basis.models, "policy": rt.policy.identity}
    if shared:
        detail["shared"] = True
    if note:
        detail["note"] = note
    audit.append(conn, "presentation", _AUTHORITY, node_id, detail, now)
    if kind is PresentationKind.ACCEPTED:
        _attested(conn, node_id, now)
        _set_node(conn, node_id, attestation_failed=False)
    else:
        _alert_presentation(conn, node_id, kind, challenge_id, now)
    ordered = kind is PresentationKind.FAILED and _was_ordered(conn, challenge_id)
    return _settle(conn, rt, node_id, now, tell=True, braked=not ordered)


def record_attestation(conn: Connection, rt: Runtime, node_id: str, ok: bool, reason: str, now: float) -> Standing:
    """Enter a machine attestation: it keeps or lowers trust.

    After a failed one, trust comes back with the next accepted presentation only; a good attestation then makes the
    next challenge due at once.
    """
    row = _node(conn, node_id)
    if ok:
        _attested(conn, node_id, now)
        if row.attestation_failed:
            _summon_soon(conn, node_id, now)
    elif not row.attestation_failed:
        _set_node(conn, node_id, attestation_failed=True)
        detail = {"reason": reason, "policy": rt.policy.identity}
        audit.append(conn, "attestation-failed", _AUTHORITY, node_id, detail, now)
        text = f"{row.name}: the machine's attestation failed: {reason}"
        raise_alert(conn, Severity.ERROR, "attestation-failed", node_id, text, {"reason": reason}, now)
    return _settle(conn, rt, node_id, now, tell=False)


def refresh(conn: Connection, rt: Runtime, node_id: str, now: float) -> list[Push]:
    """Let the passing of time take effect on a node's standing."""
    return _settle(conn, rt, node_id, now, tell=False).pushes


def serving(conn: Connection) -> int:
    """How many nodes may hold a key."""
    return conn.execute(select(func.count()).select_from(schema.node).where(_REFRESHED)).scalar_one()


def refresh_after(conn: Connection, rt: Runtime, node_id: str, most: int, now: float) -> tuple[list[Push], str, int]:
    """As `refresh`, for the next nodes that may hold a key, by id after this one: `most`, or fewer that take long.

    Gives the last one's id, which is empty where there are no more, and how many there were.
    """
    row, pushes = schema.node.c.id, list[Push]()
    nodes = conn.scalars(select(row).where((row > node_id) & _REFRESHED).order_by(row).limit(most)).all()
    done = 0
    for done, each in bounded(nodes):  # noqa: B007 - needed after the last one
        pushes += refresh(conn, rt, each, now)
    over = done == len(nodes) < most
    return pushes, "" if over else nodes[done - 1], done


def status(conn: Connection, node_id: str) -> StatusEvent:
    """What a node is told of its own standing; never when it will be challenged next."""
    row = _node(conn, node_id)
    grant = distribute_key(row.score)
    access = effective_access(NodeState(row.state), grant)
    return StatusEvent(state=row.state, score=row.score, tier=grant.tier, access=access, rotation=grant.rotation)


def isolate(conn: Connection, rt: Runtime, node_id: str, actor: str, reason: str, now: float) -> list[Push]:
    """Cut a node off from every peer; accepted presentations, as the policy counts them, or a release end it."""
    return _order(conn, rt, node_id, OperatorAction.ISOLATE, actor, reason, now)


def release(conn: Connection, rt: Runtime, node_id: str, actor: str, reason: str, now: float) -> list[Push]:
    """End an isolation or a ban: the node is `demoted` until its next accepted presentation. Raises `Refused`."""
    return _order(conn, rt, node_id, OperatorAction.RELEASE, actor, reason, now)


def ban(conn: Connection, rt: Runtime, node_id: str, actor: str, reason: str, now: float) -> list[Push]:
    """Cut a node off until an operator releases it; it is not challenged meanwhile."""
    return _order(conn, rt, node_id, OperatorAction.BAN, actor, reason, now)


def retire(conn: Connection, rt: Runtime, node_id: str, actor: str, reason: str, now: float) -> list[Push]:
    """Take a node out of service for good."""
    return _order(conn, rt, node_id, OperatorAction.RETIRE, actor, reason, now)


def _order(
    conn: Connection, rt: Runtime, node_id: str, action: OperatorAction, actor: str, reason: str, now: float
) -> list[Push]:
    before = NodeState(_node(conn, node_id).state)
    presented = any(each.kind is PresentationKind.ACCEPTED for _, each in _history(conn, node_id))
    try:
        state = ordered_state(before, action, presented=presented)
    except TransitionRefused as error:
        raise Refusal(str(error), "Look at the node's state with `node show`.") from None
    if state is before:
        return []
    audit.append(conn, f"node-{action.value}", actor, node_id, {"from": before.value, "reason": reason}, now)
    _set_node(conn, node_id, state=state.value, reason=reason, counted_after=_newest_seq(conn, node_id))
    if state in {NodeState.BANNED, NodeState.RETIRED}:
        _withdraw_challenges(conn, node_id, now)
    return _settle(conn, rt, node_id, now, tell=True, ordered_from=before).pushes


def _settle(
    conn: Connection,
    rt: Runtime,
    node_id: str,
    now: float,
    *,
    tell: bool,
    ordered_from: NodeState | None = None,
    braked: bool = True,
) -> Standing:
    """Score, tier and state as they now are; what changed is written, told and turned into keys.

    `ordered_from` is the state that an operator's order has just ended; the rules then leave the new one alone. The
    brake holds what nobody ordered, unless it is not `braked`.
    """
    row = _node(conn, node_id)
    history = _history(conn, node_id)
    overdue = _attestation_overdue(conn, node_id, now)
    around = replace(_circumstances(row, history, overdue=overdue), conduct=conduct_of(conn, rt, node_id, now))
    assessment = assess(rt.policy, [each for _, each in history], around, now)
    tier = tier_of(assessment.score)
    late = overdue or assessment.missed_last or assessment.stale or is_straggler(conn, node_id)
    known = _facts(row, history, tier, overdue=late)
    ruled = next_state(NodeState(row.state), known, rt.policy.isolation)
    state = ruled if ordered_from is None else NodeState(row.state)
    change = Change(ordered_from or NodeState(row.state), state, Tier(row.tier), tier)
    if braked and ordered_from is None and braking.holds(conn, rt, node_id, change, now):
        assessment, tier, state = _held(row, assessment), change.tier_before, change.before
        change = Change(state, state, tier, tier)
    _write(conn, row, assessment, change)
    pushes = _announce(conn, rt, row, change, assessment, now)
    if not pushes and (tell or assessment.score != row.score):
        pushes = [(node_id, status(conn, node_id))]
    return Standing(assessment.score, tier, assessment.explanation, state, pushes)


def _circumstances(row: Row[Any], history: _History, *, overdue: bool) -> Circumstances:
    """`recovering` runs from an isolation, or a release, to the first presentation accepted after it."""
    return Circumstances(
        attestation_failed=row.attestation_failed,
        attestation_overdue=overdue,
        enclave=row.enclave_kind,
        owned=row.ownership == Ownership.TAKEN,
        recovering=row.state == NodeState.ISOLATED or (row.counted_after > 0 and not _accepted_since(row, history)),
    )


def _accepted_since(row: Row[Any], history: _History) -> bool:
    return any(seq > row.counted_after and each.kind is PresentationKind.ACCEPTED for seq, each in history)


def _facts(row: Row[Any], history: _History, tier: Tier, *, overdue: bool) -> Facts:
    counted = [each.kind for seq, each in reversed(history) if seq > row.counted_after]
    return facts(counted, tier, overdue=overdue)


def _write(conn: Connection, row: Row[Any], assessment: Assessment, change: Change) -> None:
    """Nothing is written where nothing changed, as at most refreshes."""
    values: dict[str, Any] = {"state": change.after.value, "tier": change.tier_after.value}
    values |= {"score": assessment.score, "explanation": assessment.explanation}
    if all(getattr(row, name) == value for name, value in values.items()):
        return
    if change.after is not NodeState(row.state):
        values["reason"] = assessment.explanation
        if NodeState.ISOLATED in {change.before, change.after}:
            values["counted_after"] = _newest_seq(conn, row.id)
    _set_node(conn, row.id, **values)


def _announce(
    conn: Connection, rt: Runtime, row: Row[Any], change: Change, assessment: Assessment, now: float
) -> list[Push]:
    """Audit, alerts, the node's status and new keys, if state or tier changed."""
    if change.before is change.after and change.tier_before is change.tier_after:
        return []
    detail = {
        "state": change.after.value,
        "tier": change.tier_after.value,
        "score": assessment.score,
        "was": {"state": change.before.value, "tier": change.tier_before.value, "score": row.score},
        "explanation": assessment.explanation,
        "policy": rt.policy.identity,
    }
    audit.append(conn, "standing", _AUTHORITY, row.id, detail, now)
    for notice in notices(change):
        data = {"state": change.after.value, "tier": change.tier_after.value, "score": assessment.score}
        text = f"{row.name}: {notice.text} ({assessment.explanation})"
        raise_alert(conn, notice.severity, notice.kind, row.id, text, data, now)
    results.publish(conn, rt, row.id, results.Cause.STANDING, now)
    return [(row.id, status(conn, row.id)), *reissue(conn, rt, row.id, now)]


def _alert_presentation(conn: Connection, node_id: str, kind: PresentationKind, challenge_id: str, now: float) -> None:
    missed = kind is PresentationKind.MISSED
    severity = Severity.NOTICE if missed else Severity.WARNING
    what = "nobody answered a summons" if missed else "a presentation failed"
    text = f"{_node(conn, node_id).name}: {what}"
    raise_alert(conn, severity, f"presentation-{kind.value}", node_id, text, {"challenge": challenge_id}, now)


def _held(row: Row[Any], assessment: Assessment) -> Assessment:
    """The standing as it was before the brake, with what it would be."""
    would = f"{row.score / 1000:.2f}: held by the brake, would be {assessment.explanation}"
    return replace(assessment, score=row.score, explanation=would)


def _was_ordered(conn: Connection, challenge_id: str) -> bool:
    """Whether an operator had this very node challenged."""
    reason = conn.scalar(select(schema.challenge.c.reason).where(schema.challenge.c.id == challenge_id))
    return bool(reason == "on-demand")


def _attestation_overdue(conn: Connection, node_id: str, now: float) -> bool:
    due = conn.scalar(_ATTEST_DEADLINE, {"node": node_id})
    return due is not None and due < now


def _attested(conn: Connection, node_id: str, now: float) -> None:
    _set_node(conn, node_id, last_attested_at=now)
    conn.execute(_NO_DEADLINE, {"node": node_id})


def _summon_soon(conn: Connection, node_id: str, now: float) -> None:
    mine = schema.schedule.c.node_id == node_id
    conn.execute(update(schema.schedule).where(mine).values(next_challenge_at=now))


def _withdraw_challenges(conn: Connection, node_id: str, now: float) -> None:
    row = schema.challenge
    mine = (row.c.node_id == node_id) & row.c.state.in_(OPEN_CHALLENGES)
    conn.execute(update(row).where(mine).values(state=ChallengeState.WITHDRAWN.value, answered_at=now))


def _node(conn: Connection, node_id: str) -> Row[Any]:
    row = conn.execute(_NODE, {"node": node_id}).first()
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such node", "List nodes with `node list`.")
    return row


def _set_node(conn: Connection, node_id: str, **values: Any) -> None:
    conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(**values))


def _history(conn: Connection, node_id: str) -> _History:
    newest = conn.execute(_NEWEST, {"node": node_id}).all()
    return [(each.seq, presentation_of(each)) for each in reversed(newest)]


def presentation_of(row: Row[Any]) -> Presentation:
    """A row as the trust core sees it; one whose models cannot be read counts as weak, the least that it can be."""
    models, kind = _models(row.models), PresentationKind(row.kind)
    weak = row.weak or models is None
    return Presentation(row.at, kind, row.speed or 0, row.quality or 0, weak, models or (), shared=row.shared)


@lru_cache(maxsize=1024)
def _models(text: str) -> tuple[str, ...] | None:
    try:
        return tuple(decode(text, list[str]))
    except ProtocolViolation:
        return None


def _newest_seq(conn: Connection, node_id: str) -> int:
    row = schema.presentation
    return conn.scalar(select(func.max(row.c.seq)).where(row.c.node_id == node_id)) or 0
