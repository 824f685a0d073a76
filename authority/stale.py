"""Nodes that nobody sees any more: told of, retired by the policy's rule, and let in again with a new token."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, func, insert, select, update

from authority import audit, braking, profiles, standing
from authority.alerts import Severity, raise_alert
from authority.runtime import Push, Runtime
from authority.store import schema, schema_fleet
from authority.trust.policy import DAY_S
from authority.trust.staleness import StaleRules, Step, retires_at, step_of, too_many
from protocol.levels import NodeState, Tier

View = dict[str, Any]
MOST_AT_ONCE = 20
"""Nodes that one sweep tells of, and that it retires: the others follow with the next ones."""
OUTAGE_PART = 10
"""An outage of ours as long as this part of `alert_s` has every silence counted anew."""
_AUTHORITY = "authority"
_COUNTED_FROM, _HELD = "stale-counted-from", "stale-held"
_OUT = (NodeState.BANNED.value, NodeState.RETIRED.value)
_NODE, _STALE, _META = schema.node, schema_fleet.stale_node, schema.meta


@dataclass(frozen=True)
class Silent:
    """A node that was not seen for `alert_s` or longer: its row, what silence is counted from, and what is next."""

    node: Row[Any]
    seen_at: float
    alerted_at: float | None
    step: Step


def survey(conn: Connection, rules: StaleRules, now: float) -> list[Silent]:
    """Silent nodes and what the next sweep would do to each, longest silent first. Changes nothing.

    Banned nodes are left alone: silence does not end a ban.
    """
    counted_from = _number(conn, _COUNTED_FROM)
    if not rules.alert_s or now - counted_from < rules.alert_s:
        return []
    seen = func.coalesce(_NODE.c.last_seen_at, _NODE.c.joined_at)
    query = select(_NODE, seen.label("seen"), _STALE.c.alerted_at).outerjoin(_STALE)
    silent = (seen <= now - rules.alert_s) & _NODE.c.state.not_in(_OUT)
    found = [
        Silent(row, at, row.alerted_at, step_of(rules, at, row.alerted_at, now))
        for row in conn.execute(query.where(silent).order_by(seen, _NODE.c.name))
        for at in (max(row.seen, counted_from),)
    ]
    return _hold(found) if _is_held(conn, rules, found, now) else found


def clean(conn: Connection, rt: Runtime, now: float) -> list[Push]:
    """Tell of silent nodes, and retire those that the policy says; gives what other nodes are to be told."""
    rules = rt.policy.stale
    _forget_returned(conn)
    found = survey(conn, rules, now)
    _note_held(conn, sum(each.step is Step.HELD for each in found), now)
    for each in [each for each in found if each.step is Step.ALERT][:MOST_AT_ONCE]:
        _tell(conn, each, now)
    going = [each for each in found if each.step is Step.RETIRE][:MOST_AT_ONCE]
    return [push for each in going for push in _retire(conn, rt, each, now)]


def count_anew(conn: Connection, rules: StaleRules, outage_s: float, now: float) -> None:
    """After an outage of ours that is long for these rules nobody has been silent, as far as we can tell."""
    if rules.alert_s and outage_s >= rules.alert_s / OUTAGE_PART:
        _write(conn, _COUNTED_FROM, now)


def views(conn: Connection, rules: StaleRules, now: float) -> list[View]:
    """What `survey` finds, by name, for people: times in POSIX seconds."""
    return sorted((_view(each, rules, now) for each in survey(conn, rules, now)), key=lambda each: str(each["node"]))


def may_return(conn: Connection, node: Row[Any], token: Row[Any]) -> bool:
    """Whether a retired node may join again: it went for its silence, and the token was made since."""
    retired_at = _retired_at(conn, node.id)
    return retired_at is not None and token.created_at > retired_at


def went_stale(conn: Connection, node_id: str) -> bool:
    """Whether a node was retired for its silence."""
    return _retired_at(conn, node_id) is not None


def take_back(conn: Connection, node: Row[Any], now: float) -> Mapping[str, Any]:
    """Columns of a node that joins again after it was retired for its silence: it begins where a new one does.

    One that was isolated before is so again, for joining is no release.
    """
    was = conn.scalar(select(_STALE.c.was).where(_STALE.c.node_id == node.id))
    conn.execute(delete(_STALE).where(_STALE.c.node_id == node.id))
    state = NodeState.ISOLATED if was == NodeState.ISOLATED else NodeState.PENDING
    newest = conn.scalar(select(func.max(schema.presentation.c.seq)).where(schema.presentation.c.node_id == node.id))
    audit.append(conn, "stale-returned", node.id, node.id, {"state": state.value}, now)
    values = {"state": state.value, "reason": "joined again after it had been retired", "last_seen_at": now}
    return values | {"counted_after": newest or 0, "score": 0, "tier": Tier.LOW.value}


def _hold(found: Sequence[Silent]) -> list[Silent]:
    return [
        Silent(each.node, each.seen_at, each.alerted_at, Step.HELD) if each.step is Step.RETIRE else each
        for each in found
    ]


def _is_held(conn: Connection, rules: StaleRules, found: Sequence[Silent], now: float) -> bool:
    """Whether too many would go within a day, or the brake holds."""
    lately = conn.execute(
        select(func.count()).select_from(_STALE).where(_STALE.c.retired_at > now - DAY_S)
    ).scalar_one()
    here = conn.execute(select(func.count()).select_from(_NODE).where(_NODE.c.state.not_in(_OUT))).scalar_one()
    going = sum(each.step is Step.RETIRE for each in found)
    return going > 0 and (braking.engaged(conn) is not None or too_many(rules, going + lately, here + lately))


def _tell(conn: Connection, each: Silent, now: float) -> None:
    conn.execute(insert(_STALE).values(node_id=each.node.id, alerted_at=now))
    text = f"{each.node.name}: not seen since {_moment(each.seen_at)}"
    data = {"seen_at": each.seen_at, "silent_s": now - each.seen_at}
    raise_alert(conn, Severity.WARNING, "node-stale", each.node.id, text, data, now)


def _retire(conn: Connection, rt: Runtime, each: Silent, now: float) -> list[Push]:
    """As an operator would, with every profile revoked: whoever returns enrols anew."""
    node_id, reason = each.node.id, f"stale: not seen since {_moment(each.seen_at)}"
    profiles.revoke_all(conn, node_id, _AUTHORITY, reason, now)
    pushes = standing.retire(conn, rt, node_id, _AUTHORITY, reason, now)
    conn.execute(update(_STALE).where(_STALE.c.node_id == node_id).values(retired_at=now, was=each.node.state))
    text = f"{each.node.name}: retired, for it was not seen since {_moment(each.seen_at)}"
    data = {"seen_at": each.seen_at, "silent_s": now - each.seen_at, "was": each.node.state}
    raise_alert(conn, Severity.WARNING, "node-stale-retired", node_id, text, data, now)
    return pushes


def _forget_returned(conn: Connection) -> None:
    """A node that was seen after it was told of is told of again when it falls silent again."""
    back = exists().where((_NODE.c.id == _STALE.c.node_id) & (_NODE.c.last_seen_at > _STALE.c.alerted_at))
    conn.execute(delete(_STALE).where(_STALE.c.retired_at.is_(None) & back))


def _note_held(conn: Connection, held: int, now: float) -> None:
    """Tell once that nodes are held, until none is."""
    known = _number(conn, _HELD) > 0
    if held and not known:
        text = f"{held} silent nodes are not retired: too many at once, or the brake holds; see `node stale`"
        raise_alert(conn, Severity.ERROR, "stale-held", None, text, {"nodes": held}, now)
        audit.append(conn, "stale-held", _AUTHORITY, None, {"nodes": held}, now)
    if bool(held) != known:
        _write(conn, _HELD, now if held else 0.0)


def _view(each: Silent, rules: StaleRules, now: float) -> View:
    row = each.node
    retire_at = retires_at(rules, each.seen_at, now if each.alerted_at is None else each.alerted_at)
    times = {"last_seen_at": row.last_seen_at, "silent_s": now - each.seen_at, "alerted_at": each.alerted_at}
    return {"node": row.name, "state": row.state, **times, "step": each.step.value, "retire_at": retire_at}


def _retired_at(conn: Connection, node_id: str) -> float | None:
    return conn.scalar(select(_STALE.c.retired_at).where(_STALE.c.node_id == node_id))


def _number(conn: Connection, key: str) -> float:
    value = conn.scalar(select(_META.c.value).where(_META.c.key == key))
    return 0.0 if value is None else float(value)


def _write(conn: Connection, key: str, value: float) -> None:
    if conn.execute(update(_META).where(_META.c.key == key).values(value=repr(value))).rowcount == 0:
        conn.execute(insert(_META).values(key=key, value=repr(value)))


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
