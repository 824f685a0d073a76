"""Alerts: what is open, what was found about the others, by whom, and where alerts go."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select
from starlette.responses import Response

from authority import views
from authority.alerts import Severity, acknowledge
from authority.console import words
from authority.console.desk import Desk, Visit
from authority.console.fleet import PAGE
from authority.console.fleet_page import choice, labelled
from authority.console.frame import form, page
from authority.console.markup import Child, Markup, h, joined, path
from authority.planes.alert_routes import refuse_acknowledgement, shown
from authority.refusal import Refused
from authority.roles import Scope
from authority.runtime import Push
from authority.store import schema
from protocol.problems import ErrorCode

_ROW = schema.alert
_VIEWS = (("open", "open"), ("reviewed", "acknowledged"), ("all", "all"))


def alert_routes(desk: Desk) -> None:
    """The list, one alert, and the form that acknowledges it."""

    @desk.page("/alerts")
    async def listing(visit: Visit) -> Markup:
        """Alerts, newest first, and their destinations."""
        number = visit.page_number()
        kept = _kept(visit)
        total, rows = await visit.read(lambda conn: _listed(conn, kept, number))
        going = await visit.read(lambda conn: [shown(conn, each, visit.now) for each in visit.context.destinations()])
        steps = words.pages(number, max(1, -(-total // PAGE)), _address(visit), f"{total:,} alerts")
        return page(
            visit, "alerts", "Alerts", _filters(visit), _table(rows, visit.now), steps, _destinations(going, visit.now)
        )

    @desk.page("/alerts/{alert_id}")
    async def show(visit: Visit) -> Markup:
        """One alert."""
        return _alert(visit, await visit.read(lambda conn: _one(conn, visit.number("alert_id"))))

    @desk.form("/alerts/{alert_id}/acknowledge", Scope.OPERATE)
    async def acknowledged(visit: Visit) -> Response:
        """Note who looked at it, and what they found."""
        alert_id, reason = visit.number("alert_id"), visit.text("reason", needed=True)

        def act(conn: Connection) -> list[Push]:
            if not acknowledge(conn, alert_id, visit.name, reason, visit.now):
                refuse_acknowledgement(conn, alert_id)
            return []

        return await visit.act(act, path("alerts", alert_id, done="acknowledged"))


def _kept(visit: Visit) -> list[ColumnElement[bool]]:
    view, severity, node = visit.asked("view") or "open", visit.asked("severity"), visit.asked("node")
    if view not in dict(_VIEWS) or severity not in {"", *Severity}:
        raise Refused(ErrorCode.MALFORMED, 422, "there is no such filter", "Choose one of those on the page.")
    kept: list[ColumnElement[bool]] = []
    if view != "all":
        kept.append(_ROW.c.acknowledged_at.is_(None) if view == "open" else _ROW.c.acknowledged_at.is_not(None))
    if severity:
        worst = Severity(severity).code
        kept.append(_ROW.c.severity.in_([each.value for each in Severity if each.code <= worst]))
    if node:
        kept.append(schema.node.c.name.contains(node, autoescape=True))
    return kept


def _listed(conn: Connection, kept: list[ColumnElement[bool]], number: int) -> tuple[int, list[Row[Any]]]:
    both = _ROW.outerjoin(schema.node, schema.node.c.id == _ROW.c.node_id)
    total = conn.execute(select(func.count(_ROW.c.id)).select_from(both).where(*kept)).scalar_one()
    query = select(_ROW, schema.node.c.name.label("node")).select_from(both).where(*kept)
    return total, [*conn.execute(query.order_by(_ROW.c.id.desc()).limit(PAGE).offset((number - 1) * PAGE))]


def _one(conn: Connection, alert_id: int) -> dict[str, Any]:
    found = views.alert_list(conn, alert_id - 1, 1)
    if not found or found[0]["id"] != alert_id:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"there is no alert {alert_id}", "Look through the alerts.")
    return found[0]


def _address(visit: Visit) -> str:
    return path("alerts", view=visit.asked("view"), severity=visit.asked("severity"), node=visit.asked("node"))


def _filters(visit: Visit) -> Markup:
    severities = [("", "any"), *((each.value, f"{each.value} and worse") for each in Severity)]
    node = h("input", id="node", name="node", value=visit.asked("node"), maxlength=63)
    return h(
        "form",
        labelled("view", "Which", choice("view", [*_VIEWS], visit.asked("view") or "open")),
        labelled("severity", "Severity", choice("severity", severities, visit.asked("severity"))),
        labelled("node", "Node", node),
        h("button", "Show"),
        method="get",
        action=path("alerts"),
        class_="filters",
        aria_label="Filter alerts",
    )


def _table(rows: list[Row[Any]], now: float) -> Markup:
    made = [
        (
            h("a", each.kind, href=path("alerts", each.id)),
            words.severity(each.severity),
            _node(each.node),
            each.text,
            words.relative(each.at, now),
            each.repeats + 1,
            _review(each.acknowledged_by, each.acknowledgement),
        )
        for each in rows
    ]
    headings = ("Alert", "Severity", "Node", "What", "When", "Times", "Review")
    return words.table("Alerts", headings, made, "No alert passes these filters.")


def _node(name: str | None) -> Child:
    return h("span", "none", class_="faint") if name is None else h("a", name, href=path("nodes", name))


def _review(by: str, found: str) -> Child:
    return joined(h("strong", by), ": ", found) if by else "open"


def _alert(visit: Visit, alert: dict[str, Any]) -> Markup:
    facts = words.pairs(
        ("Severity", words.severity(alert["severity"])),
        ("Node", _node(alert["node"])),
        ("Raised", words.moment(alert["at"])),
        ("Times", str(alert["repeats"] + 1)),
        ("Last", words.moment(alert["last_at"] or alert["at"])),
        ("Delivered everywhere", words.moment(alert["delivered_at"], "not yet")),
    )
    data = [
        (name, value if isinstance(value, str) else json.dumps(value)) for name, value in sorted(alert["data"].items())
    ]
    more = words.table("Details", ("Name", "Value"), data, "The alert has no details.")
    return page(
        visit,
        "alerts",
        f"Alert {alert['id']}: {alert['kind']}",
        h("p", alert["text"], class_="lead"),
        facts,
        _reviewed(visit, alert),
        words.section("Details", more),
    )


def _reviewed(visit: Visit, alert: dict[str, Any]) -> Markup:
    if alert["acknowledged_at"] is not None:
        by = h(
            "p",
            h("strong", alert["acknowledged_by"]),
            " acknowledged it at ",
            words.moment(alert["acknowledged_at"]),
            ":",
        )
        return words.section("Review", by, h("blockquote", alert["acknowledgement"]))
    if not visit.may(Scope.OPERATE):
        return words.section("Review", h("p", "Nobody has acknowledged it."))
    return words.section(
        "Review",
        form(
            visit,
            path("alerts", alert["id"], "acknowledge"),
            h("label", "What you found; the audit log keeps it", for_="reason"),
            h("textarea", id="reason", name="reason", rows=3, maxlength=500, required=True),
            h("button", "Acknowledge", class_="primary"),
            label="Acknowledge",
        ),
    )


def _state(each: dict[str, Any]) -> str:
    return "stuck" if each["stuck"] else f"{each['set_aside']} set aside" if each["set_aside"] else "flows"


def _destinations(going: list[dict[str, Any]], now: float) -> Markup:
    rows = [
        (
            each["name"],
            words.verdict(_state(each), good=not each["stuck"] and not each["set_aside"]),
            each["waiting"],
            each["sent"],
            each["failed"],
            each["dropped"],
            words.relative(each["last_sent_at"], now),
            each["last_error"] or h("span", "none", class_="faint"),
        )
        for each in going
    ]
    headings = ("Destination", "State", "Waiting", "Sent", "Failed", "Given up", "Last sent", "Last error")
    table = words.table("Destinations", headings, rows, "Alerts go nowhere: docs/alerts.md tells how they could.")
    return words.section("Where alerts go", table)
