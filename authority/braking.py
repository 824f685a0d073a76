"""The brake at work: falls are counted, a tripped brake holds what would take keys away, two operators decide."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from authority import audit
from authority.alerts import Severity, raise_alert
from authority.alerts.transitions import Change
from authority.operators import is_in_force, person_behind
from authority.refusal import Refused
from authority.runtime import Runtime
from authority.store import schema
from authority.trust.brake import FALLEN, BrakeDecision, decided, trips, worsens
from protocol.levels import NodeState
from protocol.problems import ErrorCode

_AUTHORITY = "authority"
_NOT_OF_THE_FLEET = (NodeState.PENDING.value, NodeState.BANNED.value, NodeState.RETIRED.value)
VOTE_S = 86400.0
"""A vote that found no second one for so long counts no more."""
_NOT_ENGAGED = 0
"""`brake_vote.brake` of votes that would engage it."""


def holds(conn: Connection, rt: Runtime, node_id: str, change: Change, now: float) -> bool:
    """Whether an automatic change waits until operators have decided; counts it as a fall otherwise, and may engage."""
    if not worsens((change.before, change.tier_before), (change.after, change.tier_after)):
        return False
    if engaged(conn) is not None:
        return True
    if change.after in FALLEN and change.before not in FALLEN:
        conn.execute(insert(schema.brake_fall).values(node_id=node_id, at=now))
        if _is_tripped(conn, rt, now):
            _engage(conn, _AUTHORITY, "too many nodes fell", now)
    return False


def engaged(conn: Connection) -> Row[Any] | None:
    """The brake's row while it holds."""
    row = schema.brake
    return conn.execute(select(row).where(row.c.ended_at.is_(None))).first()


def vote(
    conn: Connection, rt: Runtime, decision: BrakeDecision, operator: str, reason: str, now: float
) -> dict[str, Any]:
    """An operator's vote; with the second one of the same mind it takes effect. Gives `status`; raises `Refused`."""
    if _voter(conn, rt, operator, now) is None:
        detail = f"nobody said whose the token {operator} is, and the policy asks for two persons"
        raise Refused(ErrorCode.FORBIDDEN, 403, detail, 'See docs/api.md, "Two persons", on `token whose`.')
    current = engaged(conn)
    number = _NOT_ENGAGED if current is None else current.id
    row = schema.brake_vote
    conn.execute(insert(row).values(brake=number, operator=operator, decision=decision.value, reason=reason, at=now))
    audit.append(conn, f"brake-vote-{decision.value}", operator, None, {"brake": number, "reason": reason}, now)
    match decided(_votes(conn, rt, number, now)), current:
        case BrakeDecision.HOLD, None:
            _engage(conn, operator, reason or "two operators", now)
        case BrakeDecision.RELEASE, Row():
            _release(conn, number, operator, now)
        case _:
            pass
    return status(conn)


def status(conn: Connection) -> dict[str, Any]:
    """Whether the brake holds, since when and why, who voted, and which nodes fell last."""
    current = engaged(conn)
    row, fall, node = schema.brake_vote, schema.brake_fall, schema.node
    number = _NOT_ENGAGED if current is None else current.id
    votes = conn.execute(select(row).where(row.c.brake == number).order_by(row.c.seq)).all()
    falls = conn.execute(select(node.c.name, fall.c.at).join(fall).order_by(fall.c.seq.desc()).limit(50)).all()
    return {
        "engaged": current is not None,
        "since": None if current is None else current.engaged_at,
        "cause": "" if current is None else current.cause,
        "votes": [{"operator": each.operator, "decision": each.decision, "at": each.at} for each in votes],
        "falls": [{"node": name, "at": at} for name, at in falls],
    }


def _is_tripped(conn: Connection, rt: Runtime, now: float) -> bool:
    """After a release what was held takes effect, and does not engage the brake again."""
    row, rules = schema.brake, rt.policy.brake
    released = conn.scalar(select(func.max(row.c.ended_at)))
    if released is not None and released > now - rules.window_s:
        return False
    fall, state = schema.brake_fall, schema.node.c.state
    fallen = conn.scalar(select(func.count(fall.c.node_id.distinct())).where(fall.c.at > now - rules.window_s)) or 0
    if fallen < rules.nodes:
        return False
    fleet = conn.scalar(select(func.count()).select_from(schema.node).where(state.not_in(_NOT_OF_THE_FLEET)))
    return trips(fallen, fleet or 0, rules)


def _engage(conn: Connection, actor: str, cause: str, now: float) -> None:
    conn.execute(insert(schema.brake).values(engaged_at=now, engaged_by=actor, cause=cause))
    conn.execute(schema.brake_vote.delete().where(schema.brake_vote.c.brake == _NOT_ENGAGED))
    audit.append(conn, "brake-engaged", actor, None, {"cause": cause}, now)
    text = f"the brake holds ({cause}): no node loses keys by itself until two operators decide"
    raise_alert(conn, Severity.CRITICAL, "brake-engaged", None, text, {"by": actor}, now)


def _release(conn: Connection, number: int, actor: str, now: float) -> None:
    conn.execute(update(schema.brake).where(schema.brake.c.id == number).values(ended_at=now))
    audit.append(conn, "brake-released", actor, None, {"brake": number}, now)
    text = "the brake was released by two operators: what was held takes effect"
    raise_alert(conn, Severity.WARNING, "brake-released", None, text, {"by": actor}, now)


def take_back(conn: Connection, name: str) -> None:
    """Void the votes of somebody who is no longer trusted, so that they count no more when they come back."""
    conn.execute(schema.brake_vote.delete().where(schema.brake_vote.c.operator == name))


def _votes(conn: Connection, rt: Runtime, number: int, now: float) -> list[tuple[str, BrakeDecision]]:
    """Votes of the last day, by the person, of operators whose token is still good: a thief's word goes with it."""
    row = schema.brake_vote
    query = select(row.c.operator, row.c.decision, row.c.at).where((row.c.brake == number) & (row.c.at > now - VOTE_S))
    votes = conn.execute(query.order_by(row.c.seq)).all()
    good = [(operator, decision) for operator, decision, at in votes if is_in_force(conn, operator, at, now)]
    told = ((_voter(conn, rt, operator, now), BrakeDecision(decision)) for operator, decision in good)
    return [(voter, decision) for voter, decision in told if voter is not None]


def _voter(conn: Connection, rt: Runtime, operator: str, now: float) -> str | None:
    """Whom a vote counts for; one who is not named is nobody where the policy asks for two persons (decision 0082)."""
    alone = rt.policy.approvals.persons == 1
    return person_behind(conn, operator, now) or (operator if alone else None)
