"""Orders that a policy may give to two persons: given on any page, and what of them waits for the second one."""

from __future__ import annotations

import json
from collections.abc import Callable

from sqlalchemy import Connection
from starlette.responses import RedirectResponse, Response

from authority import orders
from authority.console import words
from authority.console.desk import Desk, Visit
from authority.console.frame import form
from authority.console.markup import Child, Markup, h, path
from authority.orders import Carried, Order
from authority.roles import Scope

View = orders.View


async def give(visit: Visit, make: Callable[[Connection], Order], back: str) -> Response:
    """Carry an order out and show the page `back`, or let it wait for a second operator. Raises `Refused`."""
    context, now = visit.context, visit.now

    def act(conn: Connection) -> Carried:
        return orders.submit(conn, context.runtime, make(conn), visit.name, now, context.load_policy)

    done = await context.store.arun(act)
    await context.hub.push(done.pushes)
    return RedirectResponse(back if done.approval is None else path("approvals", done="asked"), 303)


def order_forms(desk: Desk) -> None:
    """POST /console/orders/{number}/approve and /reject."""
    context, now = desk.context, desk.context.runtime.now

    @desk.form("/orders/{number}/approve", Scope.APPROVE)
    async def approve(visit: Visit) -> Response:
        """Carry out what another operator asked for."""
        number, reason, who = visit.number("number"), visit.text("reason"), visit.session.operator

        def act(conn: Connection) -> Carried:
            return orders.approve(conn, context.runtime, number, who, reason, now(), context.load_policy)

        done = await context.store.arun(act)
        await context.hub.push(done.pushes)
        return RedirectResponse(path("approvals", done="ordered"), 303)

    @desk.form("/orders/{number}/reject", Scope.APPROVE)
    async def reject(visit: Visit) -> Response:
        """Close an order that is not to be carried out."""
        number, reason = visit.number("number"), visit.text("reason")
        await visit.read(lambda conn: orders.reject(conn, number, visit.session.operator, reason, now()))
        return RedirectResponse(path("approvals", done="closed"), 303)


def waiting(visit: Visit, found: list[View]) -> Markup:
    """Orders that wait for a second operator."""
    rows = [
        (
            f"order {each['id']}: {each['action']}",
            each["target"],
            each["requested_by"],
            each["reason"] or json.dumps(each["arguments"]),
            words.relative(each["expires_at"], visit.now),
            _decision(visit, each),
        )
        for each in found
    ]
    headings = ("Order", "Of", "Asked by", "Why", "Ends", "Decision")
    table = words.table("Orders that wait", headings, rows, "No order waits for a second operator.")
    return words.section("Orders that wait for a second operator", table)


def _decision(visit: Visit, order: View) -> Child:
    if not visit.may(Scope.APPROVE):
        return h("span", "needs the scope approve", class_="faint")
    own = order["requested_by"] == visit.name
    named = h("span", f" order {order['id']}", class_="unseen")
    verbs = [("reject", "danger")] if own else [("approve", "primary"), ("reject", "danger")]
    forms = [
        form(visit, path("orders", order["id"], verb), h("button", verb.capitalize(), named, class_=look))
        for verb, look in verbs
    ]
    return h("div", forms, class_="pair")
