"""Who is challenged when. Challenges are rows with deadlines, so that a sweep after a restart misses none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, insert, select, update

from authority import audit, checkpoints, clock_steps, fleet_orders, groups, profiles, references, stale, standing
from authority.fleet_orders import Kind
from authority.keys.orchestrator import forgive_outage, tick
from authority.refusal import Refused
from authority.runtime import Push, Refusal, Runtime
from authority.store import schema
from authority.trust import OPEN_CHALLENGES, ChallengeState, Policy, PresentationKind
from authority.trust.calendar import advance, is_attended, is_on_duty
from protocol.levels import NodeState
from protocol.messages import AttestRequest, RosterEntry, Summons
from protocol.problems import ErrorCode

SCHEDULED = "scheduled"
ON_DEMAND = "on-demand"
CHECK_IN = "checkin"
ATTEST_PURPOSE = "attest"
"""`nonce.purpose` of a machine attestation; `nonce.value` is its hexadecimal."""
ACTIVE_PROFILE = "active"
"""`profile.state` of a profile whose administrator may answer."""

_AUTHORITY = "authority"
_HEARTBEAT = "heartbeat"
_REFRESHED = "refreshed-at"
_REFRESHED_TO = "refreshed-to"
_FORGOTTEN = "forgotten-at"
_CUT_OFF = "cut-off-at"
REFRESHED_AT_ONCE = 200
"""Nodes whose standing one sweep recomputes; in a larger fleet the next sweeps go on, and others write in between."""
REQUESTED_AT_ONCE = 250
"""Attestations that one sweep asks for; after an outage those of the whole fleet are due."""
_BEFORE_ALL = "0"
"""Sorts before the id of every node."""
_FORGET_S = 3600.0
_KEEP_NONCES_S = 3600.0
_KEEP_SUPERSEDED_S = 86400.0
_NEVER_SUMMONED = (NodeState.BANNED.value, NodeState.RETIRED.value)


def sweep(conn: Connection, rt: Runtime, now: float, *, first: bool = False) -> list[Push]:
    """Everything that time brings about: called every second or so, and `first` thing after a start.

    Challenges whose time ran out while this authority was away are undecided, not missed: that was our fault; their
    nodes are summoned again at once.
    """
    clock_steps.follow_back(conn, _read_time(conn, _HEARTBEAT), now)
    outage_s = _outage_s(conn, rt, now, first=first)
    if outage_s:
        if not first:
            profiles.prolong_locks(conn, now - outage_s, outage_s)
        _forgive_attestations(conn, outage_s)
        forgive_outage(conn, outage_s)
        stale.count_anew(conn, rt.policy.stale, outage_s, now)
    pushes = _close_overdue(conn, rt, now, outage_from=now - outage_s)
    begins = _begin_pass(conn, rt, now)
    if begins:
        _add_missing_schedules(conn, now)
    pushes += _issue_due(conn, rt, now)
    pushes += _request_attestations(conn, rt, now)
    pushes += tick(conn, rt, now)
    pushes += _refresh_some(conn, rt, now)
    if begins:
        pushes += stale.clean(conn, rt, now)
    if _is_due(conn, _FORGOTTEN, _FORGET_S, now):
        _forget_superseded(conn, now)
    return pushes + checkpoints.issue_if_due(conn, rt, now)


def add_schedule(conn: Connection, node_id: str, now: float) -> None:
    """A node's first challenge is due as soon as somebody is enrolled there; nothing where it has a schedule."""
    mine = schema.schedule.c.node_id == node_id
    if conn.scalar(select(schema.schedule.c.epoch).where(mine)) is None:
        conn.execute(
            insert(schema.schedule).values(node_id=node_id, epoch=0, next_challenge_at=now, next_attest_at=now)
        )


def note_cut_off(conn: Connection, now: float) -> None:
    """An answer of ours may not have reached its node: what was activated until `now` and is not answered by its
    deadline is undecided, not failed."""
    _write_time(conn, _CUT_OFF, now)


def challenge_now(conn: Connection, rt: Runtime, node_id: str, reason: str, now: float) -> list[Push]:
    """Summon somebody to the node now; raises `Refused` when nobody could answer.

    A summons that is open already is pushed again; an activated challenge is left alone.
    """
    node = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).first()
    if node is None or node.state in _NEVER_SUMMONED:
        raise Refusal("this node is not challenged", "Release it first, if it is banned.")
    add_schedule(conn, node_id, now)
    waiting = _open_challenge(conn, node_id)
    if waiting is not None:
        return [(node_id, summons(conn, rt, waiting, now))] if waiting.state == ChallengeState.SUMMONED else []
    if not _roster(conn, rt, node_id, now):
        raise Refusal(
            "nobody who is enrolled at this node may answer now",
            "Enrol and approve somebody, unlock a profile, or wait for whoever the roster has on duty.",
        )
    return _issue(conn, rt, node, reason, now)


def draw_next(policy: Policy, now: float, random: Callable[[int], bytes], *, lab_node: bool = False) -> float:
    """POSIX seconds of the next challenge: uniform in the policy's interval of attended time, from a CSPRNG."""
    low, high = policy.challenge_interval_s(lab_node=lab_node)
    fraction = int.from_bytes(random(8), "big") / 2**64
    return advance(policy.attended, now, low + fraction * (high - low))


def check_in(conn: Connection, rt: Runtime, node_id: str, now: float) -> list[Push]:
    """Summon somebody because the node asks for it; the next scheduled challenge is drawn anew. Raises `Refused`."""
    add_schedule(conn, node_id, now)
    last = conn.scalar(select(schema.schedule.c.checkin_at).where(schema.schedule.c.node_id == node_id))
    if last is not None and 0 <= now - last < rt.policy.challenge.checkin_s:
        detail = "this node has asked for a summons just now"
        raise Refused(ErrorCode.TOO_MANY_TRIES, 429, detail, "Answer that one, or try again in some minutes.")
    _set_schedule(conn, node_id, checkin_at=now)
    return challenge_now(conn, rt, node_id, CHECK_IN, now)


def summons(conn: Connection, rt: Runtime, row: Row[Any], now: float) -> Summons:
    """What is pushed for an open challenge row; the roster has unlocked, unrevoked profiles of people on duty."""
    roster = _roster(conn, rt, row.node_id, now)
    modalities = sorted({model["modality"] for entry in roster for model in json.loads(entry.modalities)})
    return Summons(
        challenge_id=row.id,
        roster=[RosterEntry(admin=entry.admin, record_id=entry.record_id) for entry in roster],
        modalities=modalities,
        reason=row.reason,
        expires_at=row.expires_at,
    )


def close_undecided(conn: Connection, node_id: str, challenge_id: str, reason: str, now: float) -> None:
    """Close a challenge that could not be decided through our own fault: nothing is entered, the next is due now."""
    _end(conn, challenge_id, ChallengeState.UNDECIDED, now)
    audit.append(conn, "undecided", _AUTHORITY, node_id, {"challenge": challenge_id, "reason": reason}, now)
    _set_schedule(conn, node_id, next_challenge_at=now)


def open_summons(conn: Connection, rt: Runtime, node_id: str, now: float) -> list[Push]:
    """The node's open summons, for a node that has just connected."""
    row = _open_challenge(conn, node_id)
    if row is None or row.state != ChallengeState.SUMMONED or row.expires_at <= now:
        return []
    return [(node_id, summons(conn, rt, row, now))]


def _outage_s(conn: Connection, rt: Runtime, now: float, *, first: bool) -> float:
    """Seconds since the last sweep if that was an outage, else 0; now and then notes that we are here.

    The first sweep of a process ends an outage of any length.
    """
    last = _read_time(conn, _HEARTBEAT)
    if not first and last is not None and 0 <= now - last < rt.policy.scheduler.outage_s / 4:
        return 0.0
    _write_time(conn, _HEARTBEAT, now)
    if last is None or (not (first and last < now) and now - last <= rt.policy.scheduler.outage_s):
        return 0.0
    audit.append(conn, "outage", _AUTHORITY, None, {"from": last, "to": now}, now)
    return now - last


def _forgive_attestations(conn: Connection, outage_s: float) -> None:
    row = schema.schedule
    late = row.c.attest_deadline_at + outage_s
    conn.execute(update(row).where(row.c.attest_deadline_at.is_not(None)).values(attest_deadline_at=late))


def _close_overdue(conn: Connection, rt: Runtime, now: float, *, outage_from: float) -> list[Push]:
    row = schema.challenge
    summoned = (row.c.state == ChallengeState.SUMMONED) & (row.c.expires_at <= now)
    activated = (row.c.state == ChallengeState.ACTIVATED) & (row.c.deadline_at <= now)
    found = conn.execute(select(row).where(summoned | activated).order_by(row.c.node_id)).all()
    return [push for each in found for push in _close(conn, rt, each, outage_from, now)]


def _close(conn: Connection, rt: Runtime, row: Row[Any], outage_from: float, now: float) -> list[Push]:
    activated = row.state == ChallengeState.ACTIVATED
    ended = row.deadline_at if activated else row.expires_at
    if outage_from < ended or (activated and row.activated_at <= (_read_time(conn, _CUT_OFF) or -math.inf)):
        close_undecided(conn, row.node_id, row.id, "the authority was away", now)
        return []
    kind = PresentationKind.FAILED if activated and row.reason != groups.GROUP else PresentationKind.MISSED
    _end(conn, row.id, ChallengeState(kind.value), now)
    if kind is PresentationKind.FAILED:
        profiles.count_failure(conn, rt, row.record_id, now)
    return standing.record_presentation(conn, rt, row.node_id, row.id, kind, None, None, now).pushes


def _end(conn: Connection, challenge_id: str, state: ChallengeState, now: float) -> None:
    mine = schema.challenge.c.id == challenge_id
    conn.execute(update(schema.challenge).where(mine).values(state=state.value, answered_at=now))


def _add_missing_schedules(conn: Connection, now: float) -> None:
    """For nodes of before joining made them one."""
    known = exists().where(schema.schedule.c.node_id == schema.node.c.id)
    for node_id in conn.scalars(select(schema.node.c.id).where(~known)).all():
        add_schedule(conn, node_id, now)


def _issue_due(conn: Connection, rt: Runtime, now: float) -> list[Push]:
    if not is_attended(rt.policy.attended, now):
        return []
    node, plan, row = schema.node, schema.schedule, schema.challenge
    waiting = exists().where((row.c.node_id == node.c.id) & row.c.state.in_(OPEN_CHALLENGES))
    enrolled = exists().where((schema.profile.c.node_id == node.c.id) & (schema.profile.c.state == ACTIVE_PROFILE))
    due = plan.c.next_challenge_at <= now
    query = select(node).join(plan).where(due & ~waiting & enrolled & node.c.state.not_in(_NEVER_SUMMONED))
    nodes = [each for each in conn.execute(query).all() if _roster(conn, rt, each.id, now)]
    return [push for each in nodes for push in _issue(conn, rt, each, SCHEDULED, now)]


def _issue(conn: Connection, rt: Runtime, node: Row[Any], reason: str, now: float) -> list[Push]:
    mine = schema.schedule.c.node_id == node.id
    epoch = conn.execute(select(schema.schedule.c.epoch).where(mine)).scalar_one() + 1
    _set_schedule(conn, node.id, epoch=epoch, next_challenge_at=draw_next(rt.policy, now, rt.random, lab_node=node.lab))
    challenge_id = rt.random(16).hex()
    values = {"id": challenge_id, "node_id": node.id, "epoch": epoch, "state": ChallengeState.SUMMONED.value}
    expires_at = _expiry(rt.policy, reason, now)
    conn.execute(insert(schema.challenge).values(**values, reason=reason, summoned_at=now, expires_at=expires_at))
    audit.append(conn, "summons", _AUTHORITY, node.id, {"challenge": challenge_id, "reason": reason}, now)
    row = conn.execute(select(schema.challenge).where(schema.challenge.c.id == challenge_id)).one()
    return [(node.id, summons(conn, rt, row, now))]


def _expiry(policy: Policy, reason: str, now: float) -> float:
    """Grace counts while the site is attended; whoever asks for a summons by hand is there."""
    grace_s = policy.challenge.grace_s
    return advance(policy.attended, now, grace_s) if reason == SCHEDULED else now + grace_s


def _open_challenge(conn: Connection, node_id: str) -> Row[Any] | None:
    row = schema.challenge
    return conn.execute(select(row).where((row.c.node_id == node_id) & row.c.state.in_(OPEN_CHALLENGES))).first()


def _roster(conn: Connection, rt: Runtime, node_id: str, now: float) -> Sequence[Row[Any]]:
    row, admin = schema.profile, schema.administrator
    unlocked = row.c.locked_until.is_(None) | (row.c.locked_until <= now)
    query = select(row).join(admin, admin.c.name == row.c.admin).where(admin.c.revoked_at.is_(None) & unlocked)
    mine = (row.c.node_id == node_id) & (row.c.state == ACTIVE_PROFILE)
    found = conn.execute(query.where(mine).order_by(row.c.admin, row.c.record_id)).all()
    hours, roster = rt.policy.attended, rt.policy.roster
    return [each for each in found if is_on_duty(hours, roster.get(each.admin), now)]


def _request_attestations(conn: Connection, rt: Runtime, now: float) -> list[Push]:
    node, plan = schema.node, schema.schedule
    due = (plan.c.next_attest_at <= now) & node.c.state.not_in(_NEVER_SUMMONED)
    longest = select(plan).join(node).where(due).order_by(plan.c.next_attest_at).limit(REQUESTED_AT_ONCE)
    rows = conn.execute(longest).all()
    return [_request_attestation(conn, rt, row, now) for row in rows]


def _request_attestation(conn: Connection, rt: Runtime, row: Row[Any], now: float) -> Push:
    rules = rt.policy.attestation
    nonce, expires_at = rt.random(32), now + rules.answer_s
    values = {"value": nonce.hex(), "node_id": row.node_id, "purpose": ATTEST_PURPOSE}
    conn.execute(insert(schema.nonce).values(**values, expires_at=expires_at))
    silent_at = row.attest_deadline_at if row.attest_deadline_at is not None else now + rules.overdue_after_s
    _set_schedule(conn, row.node_id, next_attest_at=now + rules.interval_s, attest_deadline_at=silent_at)
    request = AttestRequest(
        nonce=nonce,
        pcr_selection=[*rules.pcr_selection],
        expires_at=expires_at,
        event_log=references.wants_events(conn, row.node_id),
    )
    return row.node_id, request


def _set_schedule(conn: Connection, node_id: str, **values: Any) -> None:
    conn.execute(update(schema.schedule).where(schema.schedule.c.node_id == node_id).values(**values))


def _begin_pass(conn: Connection, rt: Runtime, now: float) -> bool:
    """Begin to recompute everybody's standing, if that is due and the pass before has come to its end."""
    if _read(conn, _REFRESHED_TO) or not _is_due(conn, _REFRESHED, rt.policy.scheduler.refresh_s, now):
        return False
    _write(conn, _REFRESHED_TO, _BEFORE_ALL)
    return True


def _refresh_some(conn: Connection, rt: Runtime, now: float) -> list[Push]:
    """Go on with the pass that is under way, if one is, unless those of a new policy come to every node anyway."""
    reached = _read(conn, _REFRESHED_TO)
    if not reached or fleet_orders.under_way(conn, Kind.POLICY) is not None:
        return []
    pushes, last, _ = standing.refresh_after(conn, rt, reached, REFRESHED_AT_ONCE, now)
    _write(conn, _REFRESHED_TO, last)
    return pushes


def _is_due(conn: Connection, key: str, period_s: float, now: float) -> bool:
    """Whether the last time is so long ago, or ahead of the clock; notes this one if so."""
    last = _read_time(conn, key)
    if last is not None and 0 <= now - last < period_s:
        return False
    _write_time(conn, key, now)
    return True


def _forget_superseded(conn: Connection, now: float) -> None:
    """Drop nonces that have expired, deliveries that a node has gone beyond a day ago, and what others were sealed in.

    What a delivery held is kept for as long as a node may have come no further.
    """
    conn.execute(delete(schema.nonce).where(schema.nonce.c.expires_at < now - _KEEP_NONCES_S))
    sent = schema.delivery
    newer = sent.alias("newer")
    replaced = exists().where(
        (newer.c.node_id == sent.c.node_id)
        & (newer.c.network == sent.c.network)
        & (newer.c.number > sent.c.number)
        & (newer.c.issued_at < now - _KEEP_SUPERSEDED_S)
    )
    conn.execute(delete(sent).where(sent.c.ended_at < now - _KEEP_SUPERSEDED_S))
    conn.execute(update(sent).where(replaced & (sent.c.envelope != b"")).values(envelope=b""))


def _read(conn: Connection, key: str) -> str | None:
    return conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == key))


def _read_time(conn: Connection, key: str) -> float | None:
    value = _read(conn, key)
    try:
        moment = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return moment if math.isfinite(moment) else None


def _write(conn: Connection, key: str, value: str) -> None:
    changed = conn.execute(update(schema.meta).where(schema.meta.c.key == key).values(value=value))
    if changed.rowcount == 0:
        conn.execute(insert(schema.meta).values(key=key, value=value))


def _write_time(conn: Connection, key: str, moment: float) -> None:
    _write(conn, key, repr(moment))
