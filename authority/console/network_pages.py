"""Networks: members, key versions, how rotations stand, and orders to rotate."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Connection, func, select
from starlette.responses import Response

from authority import views
from authority.console import fleet, words
from authority.console.desk import Desk, Visit
from authority.console.frame import form, page
from authority.console.markup import Child, Markup, h, path
from authority.keys import networks, rotations
from authority.refusal import Refused
from authority.roles import Scope
from authority.store import schema
from protocol.problems import ErrorCode

_NAMED = 6
"""Partners of a node that are told by name."""
MOST_MEMBERS = 100
"""Pairs grow with the square of the members: of larger networks they are counted by the command line."""


def network_routes(desk: Desk) -> None:
    """The list, one network, and its forms."""

    @desk.page("/networks")
    async def listing(visit: Visit) -> Markup:
        """Every network."""
        rows = await visit.read(fleet.network_summary)
        return page(visit, "networks", "Networks", _list(rows, visit.now))

    @desk.page("/networks/{name}")
    async def show(visit: Visit) -> Markup:
        """One network."""
        name, number = visit.part("name"), visit.page_number()

        def view(conn: Connection) -> tuple[Any, ...]:
            known(conn, name)
            count = _count(conn, name)
            found = rotations.progress(conn, visit.context.runtime, name, visit.now) if count <= MOST_MEMBERS else []
            return views.key_list(conn, name), _members(conn, name, number), count, found

        keys, members, count, progress = await visit.read(view)
        steps = words.pages(number, max(1, -(-count // fleet.PAGE)), path("networks", name), f"{count:,} members")
        return page(
            visit,
            "networks",
            name,
            _rotation(progress, visit.now),
            _orders(visit, name) if visit.may(Scope.OPERATE) else None,
            _keys(keys),
            words.section("Members", _member_table(members, visit.now), steps),
        )

    _forms(desk)


def _forms(desk: Desk) -> None:
    rt = desk.context.runtime

    @desk.form("/networks/{name}/rotation", Scope.OPERATE)
    async def start(visit: Visit) -> Response:
        """New epochs for every member; the old ones drain."""
        name, back = visit.part("name"), path("networks", visit.part("name"), done="rotated")
        return await visit.act(
            lambda conn: rotations.start(conn, rt, known(conn, name), None, visit.name, rt.now()), back
        )

    @desk.form("/networks/{name}/emergency", Scope.OPERATE)
    async def emergency(visit: Visit) -> Response:
        """New epochs now; old keys go at once."""
        name, reason = visit.part("name"), visit.text("reason", needed=True)
        back = path("networks", name, done="rotated")
        return await visit.act(
            lambda conn: rotations.emergency(conn, rt, known(conn, name), None, reason, visit.name, rt.now()), back
        )

    @desk.form("/networks/{name}/versions", Scope.OPERATE)
    async def versions(visit: Visit) -> Response:
        """A new latest version; the others move down by one."""
        name, back = visit.part("name"), path("networks", visit.part("name"), done="versions")
        return await visit.act(
            lambda conn: networks.rotate_versions(conn, rt, known(conn, name), visit.name, rt.now()), back
        )


def known(conn: Connection, name: str) -> str:
    """The name of a network that there is; raises `Refused`."""
    if conn.execute(select(schema.network.c.name).where(schema.network.c.name == name)).first() is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"no network is named {name[:80]!r}", "Look through the networks.")
    return name


def _count(conn: Connection, name: str) -> int:
    member = schema.member
    return conn.execute(select(func.count()).where(member.c.network == name)).scalar_one()


def _members(conn: Connection, name: str, number: int) -> list[Any]:
    member, node = schema.member, schema.node
    shown = (node.c.name, node.c.tier, node.c.state, member.c.address, member.c.resource_class, member.c.version)
    query = select(*shown, member.c.epoch, member.c.rotate_at, member.c.outstanding_since).join(
        node, node.c.id == member.c.node_id
    )
    ordered = query.where(member.c.network == name).order_by(node.c.name)
    return [*conn.execute(ordered.limit(fleet.PAGE).offset((number - 1) * fleet.PAGE))]


def _list(rows: list[dict[str, Any]], now: float) -> Markup:
    shown = [
        (
            h("a", each["name"], href=path("networks", each["name"])),
            each["members"],
            each["holding"],
            each["waiting"],
            each["given_up"],
            words.relative(each["next_due"] or None, now, "none due"),
        )
        for each in rows
    ]
    headings = ("Network", "Members", "Hold a key", "Owe an answer", "Pairs given up", "Next rotation")
    return words.table("Networks", headings, shown, "There is no network yet.")


def _rotation(progress: list[dict[str, Any]], now: float) -> Markup:
    if not progress:
        said = "This network is too large to go through its pairs here; `keyvigil-authority rotation status` does."
        return words.section("Rotation", h("p", words.prose(said)))
    found = progress[0]
    phases = [(f"Pairs: {name}", str(number)) for name, number in found["pairs"].items()]
    took = found["last_took_s"]
    facts = words.pairs(
        ("Began", words.relative(found["began_at"], now)),
        ("Next due", words.relative(found["next_due"], now, "none")),
        ("Last took", "not ended" if took is None else words.span(took)),
        *phases,
    )
    late = [(_link(each["node"]), each["pairs"], words.relative(each["since"], now)) for each in found["stragglers"]]
    headings = ("Node", "Phase", "Pairs", "With")
    waiting = words.table("Who is waited for", headings, _waiting(found["waiting"]), "Nobody is waited for.")
    given_up = words.table("Given up", ("Node", "Pairs", "Since"), late, "No pair was given up.")
    return words.section("Rotation", facts, h("h3", "Who is waited for"), waiting, h("h3", "Given up"), given_up)


def _waiting(pairs: list[dict[str, Any]]) -> list[list[Child]]:
    """A row for each node that is waited for: one that is away holds up a pair with every other."""
    partners: dict[tuple[str, str], set[str]] = {}
    for each in pairs:
        key = each["waits_for"], each["phase"]
        partners.setdefault(key, set()).update({each["source"], each["destination"]} - {each["waits_for"]})
    count = Counter((each["waits_for"], each["phase"]) for each in pairs)
    return [
        [_link(name), phase, count[name, phase], ", ".join(others[:_NAMED]) + (" …" if others[_NAMED:] else "")]
        for (name, phase), others in sorted((key, sorted(found)) for key, found in partners.items())
    ]


def _link(node: str) -> Markup:
    return h("a", node, href=path("nodes", node))


def _orders(visit: Visit, name: str) -> Markup:
    start = form(visit, path("networks", name, "rotation"), h("button", "Rotate epochs now"), label="Rotate epochs")
    versions = form(visit, path("networks", name, "versions"), h("button", "New key version"), label="New key version")
    said = "Old keys go at once. Traffic stops until both ends of each pair have the new ones."
    inner = form(
        visit,
        path("networks", name, "emergency"),
        h("p", said, id="said-emergency"),
        h("label", "Reason, for the audit log and an alert", for_="reason-emergency"),
        h(
            "input",
            id="reason-emergency",
            name="reason",
            required=True,
            maxlength=500,
            autocomplete="off",
            aria_describedby="said-emergency",
        ),
        h("button", f"Replace every key of {name} at once", class_="danger"),
        label="Emergency",
    )
    emergency = h("details", h("summary", "Emergency …"), inner)
    return words.section("Orders", h("div", start, versions, emergency, class_="orders"))


def _keys(keys: list[dict[str, Any]]) -> Markup:
    rows = [
        (
            f"version {each['version']}",
            each["state"],
            words.moment(each["created_at"]),
            words.moment(each["destroyed_at"], "not"),
        )
        for each in reversed(keys)
    ]
    headings = ("Version", "State", "Made", "Destroyed")
    return words.section("Key versions", words.table("Key versions", headings, rows, "The network has no key."))


def _member_table(members: list[Any], now: float) -> Markup:
    rows = [
        (
            h("a", each.name, href=path("nodes", each.name)),
            each.address,
            each.resource_class,
            words.tier(each.tier),
            words.state(each.state),
            "none" if each.version is None else f"version {each.version}",
            each.epoch,
            _owes(each.outstanding_since, now),
        )
        for each in members
    ]
    headings = ("Node", "Address", "Class", "Tier", "State", "Key", "Epoch", "Answer owed")
    return words.table("Members", headings, rows, "The network has no member.")


def _owes(since: float | None, now: float) -> Child:
    return h("span", "none", class_="faint") if since is None else f"for {words.span(now - since)}"
