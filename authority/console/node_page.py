"""A node's page: where it stands and why, what it has, what was decided about it, and what an operator may order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select
from starlette.responses import Response

from authority import replaying, scheduler, standing, views
from authority.console import chart, proofs, words
from authority.console.course import Course, course
from authority.console.desk import Desk, Visit
from authority.console.frame import form, page
from authority.console.markup import Child, Markup, h, joined, path
from authority.console.orders import give
from authority.console.proofs import Proof
from authority.orders import Action, Order
from authority.refusal import Refused
from authority.roles import Scope
from authority.runtime import Push
from authority.store import schema
from authority.trust import Policy, Story
from protocol.levels import NodeState
from protocol.problems import ErrorCode

PERIODS = {"1d": ("a day", 86400.0), "7d": ("a week", 7 * 86400.0), "30d": ("a month", 30 * 86400.0)}
_SHOWN = 20
_MOVES = 60
_MOVE_HEADINGS = ("When", "Score", "Tier", "State", "What happened", "Explanation")
_ORDERS = {
    "isolate": ("Isolate", "Cut the node off from every peer; accepted presentations end it."),
    "release": ("Release", "Let the node back in at the tier that its score is worth."),
    "ban": ("Ban", "Cut the node off until an operator releases it."),
    "retire": ("Retire", "Take the node out of service for good. This cannot be undone."),
}
_OFFERED = {
    NodeState.ISOLATED: ("release", "ban", "retire"),
    NodeState.BANNED: ("release", "retire"),
    NodeState.RETIRED: (),
}


@dataclass(frozen=True)
class _Found:
    """What the page is made of, as one transaction saw it."""

    node: dict[str, Any]
    row: Row[Any]
    story: Story
    policy_at: Callable[[float], Policy]
    challenges: list[Row[Any]]
    alerts: list[Row[Any]]
    decisions: list[Row[Any]]
    proof: Proof | None


def node_routes(desk: Desk) -> None:
    """The page, and the orders that it offers."""

    @desk.page("/nodes/{name}")
    async def show(visit: Visit) -> Markup:
        """One node."""
        period = visit.asked("period") or "7d"
        if period not in PERIODS:
            raise Refused(ErrorCode.MALFORMED, 422, "there is no such period", "Choose one of those on the page.")
        found: _Found = await visit.read(lambda conn: _find(conn, visit))
        made = await asyncio.to_thread(_course, found, PERIODS[period][1], visit.now)
        return _page(visit, found, made, period)

    @desk.form("/nodes/{name}/challenge", Scope.OPERATE)
    async def challenge(visit: Visit) -> Response:
        """Summon somebody to the node now."""
        rt, name = visit.context.runtime, visit.part("name")
        back = path("nodes", name, done="challenged")
        return await visit.act(
            lambda conn: scheduler.challenge_now(conn, rt, node_of(conn, name).id, "on-demand", rt.now()), back
        )

    for verb, action in (("isolate", standing.isolate), ("retire", standing.retire)):
        _order_route(desk, verb, action)
    for verb, order in (("release", Action.NODE_RELEASE), ("ban", Action.NODE_BAN)):
        _shared_order_route(desk, verb, order)


def _order_route(desk: Desk, verb: str, action: Callable[..., list[Push]]) -> None:
    @desk.form(f"/nodes/{{name}}/{verb}", Scope.OPERATE)
    async def order(visit: Visit) -> Response:
        """Carry out one order, with the reason that the audit log keeps."""
        rt, name, reason = visit.context.runtime, visit.part("name"), visit.text("reason", needed=True)
        back = path("nodes", name, done=verb)
        return await visit.act(
            lambda conn: action(conn, rt, node_of(conn, name).id, visit.name, reason, rt.now()), back
        )


def _shared_order_route(desk: Desk, verb: str, action: Action) -> None:
    @desk.form(f"/nodes/{{name}}/{verb}", Scope.OPERATE)
    async def order(visit: Visit) -> Response:
        """As above, of an order that a policy may give to two persons."""
        name, reason = visit.part("name"), visit.text("reason", needed=True)
        back = path("nodes", name, done=verb)
        return await give(visit, lambda conn: Order(action, name, {"node_id": node_of(conn, name).id}, reason), back)


def node_of(conn: Connection, name: str) -> Row[Any]:
    """The node of that name or id; raises `Refused`."""
    row = views.find_node(conn, name)
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"no node is named {name[:80]!r}", "Look through the fleet.")
    return row


def _find(conn: Connection, visit: Visit) -> _Found:
    rt, row = visit.context.runtime, node_of(conn, visit.part("name"))
    decisions = _newest(conn, schema.audit, schema.audit.c.seq, row.id)
    return _Found(
        views.node_detail(conn, rt, row),
        row,
        replaying.stories(conn, [row.id])[row.name],
        replaying.in_force(conn, rt.policy),
        _newest(conn, schema.challenge, schema.challenge.c.epoch, row.id),
        _newest(conn, schema.alert, schema.alert.c.id, row.id),
        decisions,
        proofs.prove(conn, rt, decisions[0].seq, rt.now()) if decisions and rt.log is not None else None,
    )


def _newest(conn: Connection, table: Any, column: Any, node_id: str) -> list[Row[Any]]:
    query = select(table).where(table.c.node_id == node_id).order_by(column.desc()).limit(_SHOWN)
    return [*conn.execute(query)]


def _course(found: _Found, length_s: float, now: float) -> Course:
    begin = max(now - length_s, min(found.row.joined_at, now - 60.0))
    return course(found.story, found.policy_at, begin, now)


def _page(visit: Visit, found: _Found, made: Course, period: str) -> Markup:
    node, now = found.node, visit.now
    return page(
        visit,
        "",
        node["name"],
        _standing(node, now),
        _orders(visit, node) if visit.may(Scope.OPERATE) else None,
        _score(node, made, period),
        _keys(node, now),
        _devices(node),
        _profiles(node),
        _challenges(found.challenges, now),
        _alerts(found.alerts, now),
        _decisions(found.decisions, found.proof) if visit.may(Scope.AUDIT) else None,
    )


def _standing(node: dict[str, Any], now: float) -> Markup:
    lab = " (lab node)" if node["lab"] else ""
    facts = words.pairs(
        ("Score", words.meter(node["score"])),
        ("Tier", words.tier(node["tier"])),
        ("State", joined(words.state(node["state"]), lab)),
        ("Access", node["access"]),
        ("Rotation", f"{node['rotation']}, every {words.span(node['rotation_s'])}"),
        ("Enclave", _enclave(node)),
        ("TPM's owner", node["ownership"]),
        ("Last seen", words.relative(node["last_seen_at"], now)),
        ("Machine attested", words.relative(node["last_attested_at"], now)),
        ("Next challenge", words.relative(node["next_challenge_at"], now, "none")),
        ("Certificate until", words.moment(node["certificate_not_after"])),
        ("Id", h("code", node["id"])),
    )
    why = node["explanation"] or "nothing has been decided yet"
    reason = h("p", "State because of: ", node["reason"]) if node["reason"] not in {"", why} else None
    return words.section("Standing", h("p", why, class_="lead"), reason, facts)


def _enclave(node: dict[str, Any]) -> str:
    cap = node["enclave_cap"]
    return node["enclave"] if cap >= 1000 else f"{node['enclave']}, score at most {words.score(cap)}"


def _orders(visit: Visit, node: dict[str, Any]) -> Child:
    state, name = NodeState(node["state"]), node["name"]
    offered = _OFFERED.get(state, ("isolate", "ban", "retire"))
    if not offered:
        return None
    challenged = state not in {NodeState.BANNED, NodeState.RETIRED}
    summon = form(visit, path("nodes", name, "challenge"), h("button", "Challenge now"), label="Challenge")
    return words.section(
        "Orders",
        h("div", summon if challenged else None, *(_order(visit, name, verb) for verb in offered), class_="orders"),
    )


def _order(visit: Visit, name: str, verb: str) -> Markup:
    title, said = _ORDERS[verb]
    field = f"reason-{verb}"
    inner = form(
        visit,
        path("nodes", name, verb),
        h("p", said, id=f"said-{verb}"),
        h("label", "Reason, for the audit log", for_=field),
        h(
            "input",
            id=field,
            name="reason",
            required=True,
            maxlength=500,
            autocomplete="off",
            aria_describedby=f"said-{verb}",
        ),
        h("button", f"{title} {name}", class_="danger" if verb != "release" else None),
        label=title,
    )
    return h("details", h("summary", f"{title} …"), inner)


def _score(node: dict[str, Any], made: Course, period: str) -> Markup:
    choices = [
        h("a", text, href=path("nodes", node["name"], period=key), aria_current="true" if key == period else None)
        for key, (text, _) in PERIODS.items()
    ]
    low = min(point.score for point in made.points)
    length, standing_now = PERIODS[period][0], words.score(node["score"])
    said = f"Score of {node['name']} over {length}: now {standing_now}, lowest {words.score(low)}"
    note = h(
        "p",
        "Drawn from the recorded events by the same formula that decides, under the policies in force at the time. "
        "Shaded: the node held no key. Machine attestations that were merely late are not part of it.",
        None if made.whole else " Older presentations are left out.",
        class_="faint",
    )
    return words.section(
        "Score over time",
        h("nav", "Over ", choices, class_="choices", aria_label="Period"),
        chart.draw(made, said),
        note,
        _moves(made),
    )


def _moves(made: Course) -> Markup:
    numbers = [*range(len(made.moves))][: -_MOVES - 1 : -1]
    rows = [
        (
            words.moment(move.after.at),
            words.move(words.score(move.before.score), words.score(move.after.score)),
            words.tier(move.after.tier.value),
            words.state(move.after.state.value),
            "; ".join(move.causes),
            move.after.explanation,
        )
        for move in map(made.moves.__getitem__, numbers)
    ]
    table = words.table("Moves of the score", _MOVE_HEADINGS, rows, "The score has not moved.", numbers)
    return joined(h("h3", "Every move"), table)


def _keys(node: dict[str, Any], now: float) -> Markup:
    rows = [
        (
            h("a", each["network"], href=path("networks", each["network"])),
            each["address"],
            each["resource_class"],
            "none" if each["version"] is None else f"version {each['version']} ({each['version_state']})",
            each["epoch"],
            words.relative(each["rotate_at"] or None, now, "not due"),
        )
        for each in node["networks"]
    ]
    headings = ("Network", "Address", "Class", "Key", "Epoch", "Rotates")
    return words.section("Keys by version", words.table("Keys", headings, rows, "The node is in no network."))


def _devices(node: dict[str, Any]) -> Markup:
    rows = []
    for each in node["devices"]:
        known = each if isinstance(each, dict) else {}
        rest = {
            name: value for name, value in known.items() if name not in {"kind", "driver"} and value not in {"", None}
        }
        said = ", ".join(
            f"{name} {value if isinstance(value, str | int) else json.dumps(value)}" for name, value in rest.items()
        )
        rows.append((str(known.get("kind", "?")), str(known.get("driver", "?")), said))
    return words.section(
        "Devices", words.table("Devices", ("Kind", "Driver", "More"), rows, "The node told of no device.")
    )


def _profiles(node: dict[str, Any]) -> Markup:
    rows = [
        (
            each["admin"],
            each["state"],
            ", ".join(str(one.get("modality", "?")) for one in each["modalities"]),
            words.moment(each["created_at"]),
            each["approved_by"] or h("span", "nobody", class_="faint"),
            each["failures_in_row"],
        )
        for each in node["profiles"]
    ]
    headings = ("Administrator", "State", "Modalities", "Enrolled", "Approved by", "Failures in a row")
    return words.section("People", words.table("Profiles", headings, rows, "Nobody is enrolled at this node."))


def _challenges(rows: list[Row[Any]], now: float) -> Markup:
    shown = [
        (
            words.moment(each.summoned_at),
            each.state,
            each.reason,
            words.moment(each.answered_at, "not answered"),
            words.span(each.answered_at - each.summoned_at)
            if each.answered_at
            else words.relative(each.expires_at, now),
            _record(each.evidence_seq),
        )
        for each in rows
    ]
    headings = ("Summoned", "Outcome", "Why", "Answered", "Took, or ends", "Evidence in the log")
    return words.section(
        "Challenges", words.table("Last challenges", headings, shown, "The node was never challenged.")
    )


def _record(seq: int | None) -> Child:
    return h("span", "none", class_="faint") if seq is None else h("a", f"record {seq}", href=path("audit", seq))


def _alerts(rows: list[Row[Any]], now: float) -> Markup:
    shown = [
        (
            h("a", each.kind, href=path("alerts", each.id)),
            words.severity(each.severity),
            each.text,
            words.relative(each.at, now),
            each.acknowledged_by or "open",
        )
        for each in rows
    ]
    headings = ("Alert", "Severity", "What", "When", "Acknowledged by")
    return words.section("Alerts", words.table("Last alerts", headings, shown, "There was no alert about this node."))


def _decisions(rows: list[Row[Any]], proof: Proof | None) -> Markup:
    shown = [
        (h("a", f"record {each.seq}", href=path("audit", each.seq)), words.moment(each.at), each.kind, each.actor)
        for each in rows
    ]
    table = words.table("Last decisions", ("Record", "When", "What", "By"), shown, "The log has nothing of this node.")
    return words.section("Audit", proven(proof) if proof is not None else None, table)


def proven(proof: Proof) -> Markup:
    """One line: whether the record is covered by the log's signed checkpoint."""
    if proof.flaw:
        return h(
            "p", words.verdict("does not hold", good=False), f": record {proof.seq}: {proof.flaw}.", class_="alarm"
        )
    covered = f"the signed checkpoint of {proof.size} records covers it by {len(proof.hashes)} hashes"
    said = f": record {proof.seq} is in the log; {covered}."
    return h("p", words.verdict("verified", good=True), said, class_="proof")
