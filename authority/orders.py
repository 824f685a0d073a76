"""Orders that a policy may give to two persons: asked for by one operator, carried out when another says so.

What an order does is fixed when it is asked for: the second operator decides on that, and on nothing that was changed
meanwhile. It is carried out in the name of whoever asked, whose credential must still be good then.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from authority import audit, driver_followers, enrolling, operators, policies, references, revoking, standing
from authority.alerts import Severity, raise_alert
from authority.operators import Operator
from authority.refusal import Refused
from authority.roles import Scope
from authority.runtime import Push, Refusal, Runtime
from authority.store import schema_api
from authority.trust.policy import ApprovalRules, Policy
from protocol.problems import ErrorCode

View = dict[str, Any]
LoadPolicy = Callable[[], Policy]
MOST_OPEN = 100
"""Orders of one operator that wait at once."""
_ROW = schema_api.approval


class Action(StrEnum):
    """What needs a second operator where the policy says so."""

    PROFILE_APPROVE = "profile-approve"
    ADMIN_REVOKE = "admin-revoke"
    NODE_BAN = "node-ban"
    NODE_RELEASE = "node-release"
    REFERENCE_ACCEPT = "reference-accept"
    REFERENCE_STAGE = "reference-stage"
    REFERENCE_LEARN = "reference-learn"
    DRIVER_FOLLOW = "driver-follow"
    POLICY_RELOAD = "policy-reload"
    TOKEN_CREATE = "token-create"  # noqa: S105 - the name of an action
    TOKEN_IDENTITY = "token-identity"  # noqa: S105 - the name of an action


class OrderState(StrEnum):
    """Where an order stands; `EXPIRED` is what an open one is after its time."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Order:
    """An action, what it is about as people name it, and everything that carrying it out needs, as JSON values."""

    action: Action
    target: str
    arguments: View
    reason: str = ""


@dataclass(frozen=True)
class Carried:
    """What whoever asked is answered, and what nodes are told; `approval` is the number of an order that waits."""

    view: View
    pushes: list[Push] = field(default_factory=list)
    approval: int | None = None


def submit(conn: Connection, rt: Runtime, order: Order, actor: str, now: float, load: LoadPolicy | None) -> Carried:
    """Carry an order out, or let it wait for a second operator. Raises `Refused`."""
    if not _needs_second(rt.policy.approvals, order.action):
        return _carry_out(conn, rt, order, actor, now, load)
    number = _waiting(conn, order, actor, now)
    if number is None:
        number = _ask(conn, rt, order, actor, now)
    return Carried({"ok": False, "approval": number}, approval=number)


def approve(
    conn: Connection, rt: Runtime, number: int, operator: Operator, reason: str, now: float, load: LoadPolicy | None
) -> Carried:
    """Carry out what another operator asked for. Raises `Refused`; an order that is refused then still waits."""
    row = _open(conn, number, now)
    order = Order(Action(row.action), row.target, json.loads(row.arguments), row.reason)
    _check_second(conn, row, order.action, operator, now)
    carried = _carry_out(conn, rt, order, row.requested_by, now, load)
    _close(conn, row, OrderState.APPROVED, operator.name, reason, now)
    return Carried({**carried.view, "ok": True}, carried.pushes)


def reject(conn: Connection, number: int, operator: Operator, reason: str, now: float) -> None:
    """Close an order that is not to be carried out; whoever asked may do that too. Raises `Refused`."""
    _close(conn, _open(conn, number, now), OrderState.REJECTED, operator.name, reason, now)


def take_back(conn: Connection, name: str, actor: str, now: float) -> None:
    """Close what somebody asked for who is no longer trusted, so that it stands no more when they come back."""
    theirs = (_ROW.c.requested_by == name) & (_ROW.c.state == OrderState.OPEN.value)
    for row in conn.execute(select(_ROW).where(theirs)).all():
        _close(conn, row, OrderState.REJECTED, actor, "whoever asked is shut out", now)


def listing(
    conn: Connection, now: float, state: OrderState | None = None, after: int = 0, limit: int | None = None
) -> list[View]:
    """Orders with a number above `after`, oldest first."""
    query = select(_ROW).where(_ROW.c.id > after).order_by(_ROW.c.id)
    match state:
        case OrderState.OPEN:
            query = query.where((_ROW.c.state == OrderState.OPEN.value) & (_ROW.c.expires_at > now))
        case OrderState.EXPIRED:
            query = query.where((_ROW.c.state == OrderState.OPEN.value) & (_ROW.c.expires_at <= now))
        case OrderState():
            query = query.where(_ROW.c.state == state.value)
    return [_view(row, now) for row in conn.execute(query.limit(limit))]


def detail(conn: Connection, number: int, now: float) -> View:
    """One order; raises `Refused` when there is none."""
    return _view(_get(conn, number), now)


def _carry_out(conn: Connection, rt: Runtime, order: Order, actor: str, now: float, load: LoadPolicy | None) -> Carried:
    given = order.arguments
    match order.action:
        case Action.NODE_BAN | Action.NODE_RELEASE:
            decide = standing.ban if order.action is Action.NODE_BAN else standing.release
            return Carried({"ok": True}, decide(conn, rt, given["node_id"], actor, order.reason, now))
        case Action.PROFILE_APPROVE:
            return Carried({"ok": True}, enrolling.approve(conn, rt, given["record_id"], actor, now))
        case Action.ADMIN_REVOKE:
            return Carried(*revoking.revoke_everywhere(conn, given["admin"], actor, order.reason, now))
        case Action.POLICY_RELOAD:
            return _reload(conn, rt, given["sha256"], actor, now, load)
        case Action.TOKEN_CREATE | Action.TOKEN_IDENTITY:
            act = operators.register if order.action is Action.TOKEN_CREATE else operators.say_whose
            return Carried(act(conn, given, actor, now))
        case _:
            return _on_what_nodes_show(conn, order.action, given, order.reason, actor, now)


def _on_what_nodes_show(conn: Connection, action: Action, given: View, reason: str, actor: str, now: float) -> Carried:
    """Nodes hear of it with their next attestation, or answer."""
    if action is Action.REFERENCE_STAGE:
        done = references.stage(conn, given["value_id"], given["node_ids"], actor, now)
        return Carried({"ok": True, "nodes": done})
    if action is Action.REFERENCE_ACCEPT:
        references.accept(conn, given["value_id"], actor, now)
    elif action is Action.DRIVER_FOLLOW:
        driver_followers.allow(conn, given["old"], given["new"], reason, actor, now)
    else:
        references.await_next(conn, given["node_id"], references.Kind(given["kind"]), actor, now)
    return Carried({"ok": True})


def _reload(conn: Connection, rt: Runtime, sha256: str, actor: str, now: float, load: LoadPolicy | None) -> Carried:
    """The policy file as it was when the order was given, and no other."""
    policy = load() if load is not None else None
    if policy is None or policy.sha256 != sha256:
        raise Refusal("the policy's file was changed since this was asked for", "Reject it, and ask for it anew.")
    pushes = policies.adopt(conn, rt, policy, actor, now)
    return Carried(dict(rt.policy.identity), pushes)


def _needs_second(rules: ApprovalRules, action: Action) -> bool:
    """Whether an order waits; one that only takes rights away does where the policy says so besides."""
    return rules.persons > 1 and (action is not Action.ADMIN_REVOKE or rules.revocations)


def _scope(action: Action) -> Scope:
    match action:
        case Action.NODE_BAN | Action.NODE_RELEASE:
            return Scope.OPERATE
        case Action.POLICY_RELOAD | Action.TOKEN_CREATE | Action.TOKEN_IDENTITY:
            return Scope.ADMIN
        case _:
            return Scope.APPROVE


def _check_second(conn: Connection, row: Row[Any], action: Action, operator: Operator, now: float) -> None:
    if not operators.is_in_force(conn, row.requested_by, row.requested_at, now):
        raise Refusal(f"the credential of {row.requested_by} is no longer good", "Reject it, and ask for it anew.")
    asked, second = (_person(conn, name, now) for name in (row.requested_by, operator.name))
    if asked == second:
        detail = "the second operator must be another person than whoever asked"
        raise Refused(ErrorCode.FORBIDDEN, 403, detail, "Have another operator approve it.")
    if not operator.may(_scope(action)):
        detail = f"this token lacks the scope {_scope(action)}, which the order needs"
        raise Refused(ErrorCode.FORBIDDEN, 403, detail, "Have somebody approve it who could order it.")


def _person(conn: Connection, name: str, now: float) -> str:
    """Who is behind a name; two that are not named may be one (decision 0082). Raises `Refused`."""
    person = operators.person_behind(conn, name, now)
    if person is None:
        detail = f"nobody said whose the token {name} is, so that it may be the other operator's"
        raise Refused(ErrorCode.FORBIDDEN, 403, detail, 'See docs/api.md, "Two persons", on `token whose`.')
    return person


def _waiting(conn: Connection, order: Order, actor: str, now: float) -> int | None:
    """The number of the very same order, if it waits already; raises `Refused` when too many of the actor's do."""
    mine = (_ROW.c.requested_by == actor) & (_ROW.c.state == OrderState.OPEN.value) & (_ROW.c.expires_at > now)
    same = (_ROW.c.action == order.action.value) & (_ROW.c.arguments == _canonical(order.arguments))
    found: int | None = conn.scalar(select(_ROW.c.id).where(mine & same & (_ROW.c.reason == order.reason)))
    if found is None and (conn.scalar(select(func.count()).select_from(_ROW).where(mine)) or 0) >= MOST_OPEN:
        detail = f"{MOST_OPEN} orders of yours wait for a second operator already"
        raise Refused(ErrorCode.TOO_MANY_TRIES, 429, detail, "Have some of them decided.", retry_after_s=3600)
    return found


def _ask(conn: Connection, rt: Runtime, order: Order, actor: str, now: float) -> int:
    values = {"action": order.action.value, "target": order.target[:255], "arguments": _canonical(order.arguments)}
    times = {"requested_at": now, "expires_at": now + rt.policy.approvals.expires_s}
    row = {**values, **times, "requested_by": actor, "reason": order.reason, "state": OrderState.OPEN.value}
    made = conn.execute(insert(_ROW).values(**row)).inserted_primary_key
    assert made is not None
    number = int(made[0])
    detail = {"approval": number, "action": order.action.value, "target": order.target, "reason": order.reason}
    audit.append(conn, "approval-requested", actor, None, detail | {"arguments": order.arguments}, now)
    text = f"{order.action.value} of {order.target} waits for a second operator: `approvals approve {number}`"
    raise_alert(conn, Severity.NOTICE, "approval-requested", None, text, detail | {"by": actor}, now)
    return number


def _close(conn: Connection, row: Row[Any], state: OrderState, actor: str, reason: str, now: float) -> None:
    values = {"state": state.value, "decided_by": actor, "decided_at": now, "decision": reason}
    conn.execute(update(_ROW).where(_ROW.c.id == row.id).values(**values))
    detail = {"approval": row.id, "action": row.action, "target": row.target, "requested_by": row.requested_by}
    audit.append(conn, f"approval-{state.value}", actor, None, detail | {"reason": reason}, now)


def _get(conn: Connection, number: int) -> Row[Any]:
    row = conn.execute(select(_ROW).where(_ROW.c.id == number)).first()
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"there is no order {number}", "See `approvals list`.")
    return row


def _open(conn: Connection, number: int, now: float) -> Row[Any]:
    row = _get(conn, number)
    state = _state(row, now)
    if state is not OrderState.OPEN:
        raise Refusal(f"order {number} is {state.value}", "Ask for it anew.")
    return row


def _state(row: Row[Any], now: float) -> OrderState:
    return OrderState.EXPIRED if row.state == OrderState.OPEN and row.expires_at <= now else OrderState(row.state)


def _view(row: Row[Any], now: float) -> View:
    names = ("id", "action", "target", "requested_by", "reason", "requested_at", "expires_at")
    decided = ("decided_by", "decided_at", "decision")
    values = {name: getattr(row, name) for name in (*names, *decided)}
    return {**values, "state": _state(row, now).value, "arguments": json.loads(row.arguments)}


def _canonical(arguments: View) -> str:
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"))
