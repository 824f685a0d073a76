"""The first page: the fleet at a glance, what waits for somebody, and its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from authority import braking, fleet_orders
from authority.console import fleet, words
from authority.console.desk import Desk, Visit
from authority.console.fleet import Filters, Glance
from authority.console.frame import page
from authority.console.markup import Child, Markup, h, path
from authority.refusal import Refused
from protocol.levels import NodeState, Tier
from protocol.problems import ErrorCode

_WIDTH = 1000
_HEADINGS = ("Node", "Score", "Tier", "State", "Enclave", "Next challenge", "Last seen", "Open alerts")


def fleet_routes(desk: Desk) -> None:
    """GET /console."""

    @desk.page("")
    async def show(visit: Visit) -> Markup:
        """The fleet."""
        filters, number = _filters(visit), visit.page_number()

        def view(conn: Connection) -> tuple[Any, ...]:
            return (
                fleet.glance(conn, visit.now),
                fleet.nodes(conn, filters, number, visit.now),
                fleet.network_summary(conn),
                braking.status(conn),
                fleet_orders.running(conn),
            )

        seen, (total, rows), networks, brake, under_way = await visit.read(view)
        connected = len(visit.context.hub.connected())
        glance = [_glance(seen, connected), _networks(networks, visit.now)]
        found = _nodes(filters, number, total, rows, visit.now)
        searched = filters != Filters() or number > 1
        return page(
            visit,
            "",
            "Fleet",
            _brake(brake),
            _under_way(under_way),
            *([found, *glance] if searched else [*glance, found]),
        )


def _filters(visit: Visit) -> Filters:
    tier, state, order = visit.asked("tier"), visit.asked("state"), visit.asked("order") or "worst"
    known = tier in {"", *Tier} and state in {"", *NodeState} and order in fleet.ORDERS
    if not known:
        raise Refused(ErrorCode.MALFORMED, 422, "there is no such filter", "Choose one of those on the page.")
    return Filters(visit.asked("q"), tier, state, visit.asked("network"), visit.asked("late") == "yes", order)


def _brake(status: dict[str, Any]) -> Child:
    if not status["engaged"]:
        return None
    link = h("a", "Decide", href=f"{path('approvals')}#brake")
    said = f"The brake holds ({status['cause']}): no node loses keys by itself until two operators decide. "
    return h("p", said, link, class_="alarm", role="status")


def _under_way(orders: Sequence[dict[str, Any]]) -> Child:
    if not orders:
        return None
    what = {"revoke": "Revoking", "policy": "Bringing every node in line with the policy"}
    said = [f"{what[each['kind']]} {each['subject']}: {each['done']:,} of {each['total']:,}. " for each in orders]
    return h("p", *said, class_="note", role="status")


def _glance(seen: Glance, connected: int) -> Markup:
    serving = sum(seen.tiers.values())
    waiting = sum(seen.alerts.values())
    figures = h(
        "ul",
        _figure(serving, "nodes", f"{connected} connected"),
        _figure(seen.overdue, "overdue", f"{seen.summoned} summoned now", path(late="yes")),
        _figure(seen.unattested, "machines unattested", "past their deadline", path(late="yes")),
        _figure(waiting, "open alerts", _alerts(seen.alerts), path("alerts")),
        class_="figures",
    )
    return words.section("At a glance", figures, _tiers(seen.tiers), _states(seen.states))


def _alerts(open_alerts: dict[str, int]) -> str:
    ranked = [name for name in ("critical", "error", "warning", "notice", "info") if open_alerts.get(name)]
    return ", ".join(f"{open_alerts[name]} {name}" for name in ranked[:2]) or "nothing waits"


def _figure(number: int, name: str, more: str, href: str | None = None) -> Markup:
    value = h("span", f"{number:,}", class_="number")
    said = h("span", name, class_="name")
    inner = h("a", value, said, href=href) if href else h("span", value, said)
    return h("li", inner, h("span", more, class_="faint"))


def _tiers(tiers: dict[str, int]) -> Markup:
    """One bar of all nodes, and the same in words that lead to each."""
    total, left, parts = sum(tiers.values()), 0.0, []
    for name, number in tiers.items():
        width = _WIDTH * number / total if total else 0
        parts.append(h("rect", x=round(left, 1), width=round(max(0.0, width - 2), 1), height=10, class_=f"tier-{name}"))
        left += width
    bar = h("svg", *parts, viewBox=f"0 0 {_WIDTH} 10", preserveAspectRatio="none", class_="tiers", aria_hidden="true")
    legend = [
        h("li", words.tier(name), " ", _count(number, f"{name} nodes", path(tier=name)))
        for name, number in tiers.items()
    ]
    return h("div", h("h3", "Tiers"), bar, h("ul", *legend, class_="legend"))


def _states(states: dict[str, int]) -> Markup:
    shown = [each.value for each in NodeState if states.get(each.value)]
    links = [
        h(
            "li",
            words.state(name),
            " ",
            _count(states[name], f"{name} nodes", path(state=name)),
        )
        for name in shown
    ]
    return h("div", h("h3", "States"), h("ul", *links, class_="legend") if links else h("p", "There is no node yet."))


def _count(number: int, of: str, href: str) -> Markup:
    """A number that leads to what was counted, and says so where it is read without its surroundings."""
    return h("a", f"{number:,}", h("span", f" {of}", class_="unseen"), href=href)


def _networks(rows: list[dict[str, Any]], now: float) -> Markup:
    shown = [
        (
            h("a", each["name"], href=path("networks", each["name"])),
            each["members"],
            f"{each['holding'] - min(each['holding'], each['waiting'])} of {each['holding']} have answered",
            _progress(each),
            words.relative(each["next_due"] or None, now, "none due"),
        )
        for each in rows
    ]
    headings = ("Network", "Members", "Newest keys", "Rotation", "Next rotation")
    return words.section("Rotation progress", words.table("Networks", headings, shown, "There is no network yet."))


def _progress(each: dict[str, Any]) -> Child:
    if each["given_up"]:
        return words.verdict(f"{each['given_up']} pairs given up", good=False)
    if each["waiting"]:
        return f"waits for {each['waiting']} members"
    return words.verdict("settled", good=True)


def _nodes(filters: Filters, number: int, total: int, rows: Any, now: float) -> Markup:
    last = max(1, -(-total // fleet.PAGE))
    table = words.table("Nodes", _HEADINGS, [_row(each, now) for each in rows], "No node passes these filters.")
    steps = words.pages(number, last, _address(filters), f"{total:,} nodes")
    return words.section("Nodes", _filter_form(filters), table, steps)


def _row(row: Row[Any], now: float) -> list[Child]:
    late = row.next_challenge_at is not None and row.next_challenge_at < now
    due = "being summoned" if late else words.relative(row.next_challenge_at, now, "none")
    return [
        h("a", row.name, href=path("nodes", row.name)),
        words.meter(row.score),
        words.tier(row.tier),
        words.state(row.state),
        row.enclave_kind,
        due,
        words.relative(row.last_seen_at, now),
        row.open_alerts or h("span", "none", class_="faint"),
    ]


def _address(filters: Filters) -> str:
    late, order = "yes" if filters.late else "", "" if filters.order == "worst" else filters.order
    return path(
        q=filters.words, tier=filters.tier, state=filters.state, network=filters.network, late=late, order=order
    )


def _filter_form(filters: Filters) -> Markup:
    tiers = [("", "any"), *((each.value, each.value) for each in Tier)]
    states = [("", "any but retired"), *((each.value, each.value) for each in NodeState)]
    late = h("input", type="checkbox", id="late", name="late", value="yes", checked=filters.late)
    return h(
        "form",
        labelled(
            "words",
            "Name, address, id",
            h("input", type="search", id="words", name="q", value=filters.words, maxlength=200),
        ),
        labelled("tier", "Tier", choice("tier", tiers, filters.tier)),
        labelled("state", "State", choice("state", states, filters.state)),
        labelled("network", "Network", h("input", id="network", name="network", value=filters.network, maxlength=63)),
        labelled("order", "Order", choice("order", [*fleet.ORDERS.items()], filters.order)),
        h("span", late, h("label", "late only", for_="late"), class_="check"),
        h("button", "Show"),
        h("a", "Reset", href="/console") if filters != Filters() else None,
        method="get",
        action="/console",
        class_="filters",
        aria_label="Filter nodes",
    )


def labelled(target: str, text: str, field: Child) -> Markup:
    """A field under its label."""
    return h("span", h("label", text, for_=target), field, class_="field")


def choice(name: str, options: list[tuple[str, str]], chosen: str) -> Markup:
    """A list of which one value is chosen."""
    return h(
        "select",
        *(h("option", text, value=value, selected=value == chosen) for value, text in options),
        id=name,
        name=name,
    )
