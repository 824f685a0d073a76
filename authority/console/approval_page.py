"""What waits for a person's decision: enrolments, states of machines, and the brake."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response

from authority import braking, enrolling, orders, references, views
from authority.console import words
from authority.console.desk import Desk, Visit
from authority.console.frame import form, page
from authority.console.markup import Child, Markup, h, joined, path
from authority.console.orders import give, order_forms, waiting
from authority.orders import Action, Order, OrderState
from authority.references import State
from authority.refusal import Refused
from authority.roles import Scope
from authority.runtime import Push
from authority.trust.brake import BrakeDecision
from protocol.problems import ErrorCode

_PENDING = "pending"
_MOST = 200


def approval_routes(desk: Desk) -> None:
    """The page, and a form for each decision."""

    @desk.page("/approvals")
    async def show(visit: Visit) -> Markup:
        """Everything that waits."""

        def view(conn: Connection) -> tuple[Any, ...]:
            candidates = references.listing(conn, state=State.CANDIDATE.value)[:_MOST]
            changes = [references.detail(conn, each["id"])["changes"] for each in candidates]
            profiles = views.profile_list(conn, state=_PENDING)[:_MOST]
            asked = orders.listing(conn, visit.now, OrderState.OPEN, limit=_MOST)
            return asked, profiles, [*zip(candidates, changes, strict=True)], braking.status(conn)

        asked, profiles, candidates, brake = await visit.read(view)
        return page(
            visit,
            "approvals",
            "Approvals",
            waiting(visit, asked),
            _enrolments(visit, profiles),
            _states(visit, candidates),
            _brake(visit, brake),
        )

    _profile_forms(desk)
    _reference_forms(desk)
    _brake_form(desk)
    order_forms(desk)


def _profile_forms(desk: Desk) -> None:
    rt = desk.context.runtime

    @desk.form("/profiles/{record_id}/approve", Scope.APPROVE)
    async def approve(visit: Visit) -> Response:
        """Let an enrolled administrator answer for the node."""
        record, back = visit.part("record_id"), path("approvals", done="approved")

        def make(conn: Connection) -> Order:
            target = enrolling.check_approvable(conn, record)
            return Order(Action.PROFILE_APPROVE, target, {"record_id": record})

        return await give(visit, make, back)

    @desk.form("/profiles/{record_id}/refuse", Scope.APPROVE)
    async def refuse(visit: Visit) -> Response:
        """Never accept this enrolment at the node."""
        record, back = visit.part("record_id"), path("approvals", done="refused")
        return await visit.act(lambda conn: enrolling.revoke_profile(conn, rt, record, visit.name, rt.now()), back)


def _reference_forms(desk: Desk) -> None:
    @desk.form("/references/{value_id}/accept", Scope.APPROVE)
    async def accept(visit: Visit) -> Response:
        """Let the node show this value."""
        value_id, back = visit.number("value_id"), path("approvals", done="accepted")

        def make(conn: Connection) -> Order:
            value = references.detail(conn, value_id)
            target = f"value {value_id}, {value['kind']} of {value['node']}"
            return Order(Action.REFERENCE_ACCEPT, target, {"value_id": value_id})

        return await give(visit, make, back)

    @desk.form("/references/{value_id}/reject", Scope.APPROVE)
    async def reject(visit: Visit) -> Response:
        """Close a value, so that the node fails with it."""
        value_id = visit.number("value_id")

        def act(conn: Connection) -> list[Push]:
            references.reject(conn, value_id, visit.name, visit.now)
            return []

        return await visit.act(act, path("approvals", done="rejected"))


def _brake_form(desk: Desk) -> None:
    @desk.form("/brake/{decision}", Scope.APPROVE)
    async def vote(visit: Visit) -> Response:
        """Vote; a second operator of the same mind makes it take effect."""
        decision, reason = visit.part("decision"), visit.text("reason", needed=True)
        if decision not in {*BrakeDecision}:
            raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such decision", "Vote hold or release.")

        def act(conn: Connection) -> list[Push]:
            braking.vote(conn, visit.context.runtime, BrakeDecision(decision), visit.name, reason, visit.now)
            return []

        return await visit.act(act, path("approvals", done="voted"))


def _enrolments(visit: Visit, profiles: list[dict[str, Any]]) -> Markup:
    rows = [
        (
            each["admin"],
            h("a", each["node"], href=path("nodes", each["node"])),
            ", ".join(str(one.get("modality", "?")) for one in each["modalities"]),
            words.relative(each["created_at"], visit.now),
            _both(visit, ("profiles", each["record_id"]), ("approve", "refuse"), f"{each['admin']} at {each['node']}"),
        )
        for each in profiles
    ]
    headings = ("Administrator", "Node", "Modalities", "Enrolled", "Decision")
    return words.section("Enrolments", words.table("Pending enrolments", headings, rows, "No enrolment waits."))


def _states(visit: Visit, candidates: list[tuple[dict[str, Any], dict[str, list[str]]]]) -> Markup:
    rows = [
        (
            h("a", each["node"], href=path("nodes", each["node"])),
            "machine state" if each["kind"] == "pcrs" else each["kind"],
            _changes(changes),
            words.relative(each["first_seen_at"], visit.now),
            _both(visit, ("references", each["id"]), ("accept", "reject"), f"value {each['id']} of {each['node']}"),
        )
        for each, changes in candidates
    ]
    headings = ("Node", "What", "Different from before", "First seen", "Decision")
    empty = "No machine shows a state that nobody has accepted."
    return words.section("Reference values", words.table("Candidates", headings, rows, empty))


def _changes(changes: dict[str, list[str]]) -> Child:
    shown = [
        h("li", f"{name}: ", h("code", old[:12] or "nothing"), " → ", h("code", new[:12] or "nothing"))
        for name, (old, new) in changes.items()
    ]
    return h("ul", *shown[:8], class_="plain") if shown else "nothing to compare with"


def _both(visit: Visit, where: tuple[str | int, ...], verbs: tuple[str, str], what: str) -> Child:
    if not visit.may(Scope.APPROVE):
        return h("span", "needs the scope approve", class_="faint")
    yes, no = verbs
    return h(
        "div", _decision(visit, where, yes, what, "primary"), _decision(visit, where, no, what, "danger"), class_="pair"
    )


def _decision(visit: Visit, where: tuple[str | int, ...], verb: str, what: str, look: str) -> Markup:
    button = h("button", verb.capitalize(), h("span", f" {what}", class_="unseen"), class_=look)
    return form(visit, path(*where, verb), button)


def _brake(visit: Visit, status: dict[str, Any]) -> Markup:
    engaged = status["engaged"]
    said = f"The brake holds since {_when(status)} ({status['cause']})." if engaged else "The brake does not hold."
    votes = [(each["operator"], each["decision"], words.relative(each["at"], visit.now)) for each in status["votes"]]
    falls = [
        (h("a", each["node"], href=path("nodes", each["node"])), words.relative(each["at"], visit.now))
        for each in status["falls"]
    ]
    content = joined(
        h("p", said),
        _vote(visit, BrakeDecision.RELEASE if engaged else BrakeDecision.HOLD) if visit.may(Scope.APPROVE) else None,
        words.table("Votes on the brake", ("Operator", "Vote", "When"), votes, "Nobody has voted."),
        h("h3", "Nodes that fell last"),
        words.table("Nodes that fell last", ("Node", "When"), falls, "No node fell."),
    )
    return h("section", h("h2", "Brake", id="brake"), content)


def _when(status: dict[str, Any]) -> str:
    return "now" if status["since"] is None else words.stamp(status["since"])


def _vote(visit: Visit, decision: BrakeDecision) -> Markup:
    action = "let what was held take effect" if decision is BrakeDecision.RELEASE else "let no node lose keys by itself"
    inner = form(
        visit,
        path("brake", decision.value),
        h("label", "Reason, for the audit log", for_="reason-brake"),
        h("input", id="reason-brake", name="reason", required=True, maxlength=500, autocomplete="off"),
        h("button", f"Vote to {action}", class_="danger"),
        label="Vote on the brake",
    )
    return h("details", h("summary", f"Vote to {decision.value} …"), inner)
