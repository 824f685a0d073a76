"""One step of a network: what there is, what follows from it, and the deliveries that bring it about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Row, bindparam, update

from authority.alerts import raise_alert
from authority.keys import stragglers
from authority.keys.associations import Member, partners
from authority.keys.contents import Deliveries
from authority.keys.delivering import Plan
from authority.keys.epochs import EpochBook
from authority.keys.planning import (
    Order,
    course_of,
    due,
    issue_ahead,
    member_of,
    member_rows,
    patience_s,
    place_of,
    settle_epochs,
    times_ahead,
    why_unusable,
)
from authority.keys.rotation import NOTHING, UNKNOWN, Contents, Network
from authority.keys.versions import numbers_by_state, usable
from authority.runtime import Push, Runtime
from authority.store import schema
from protocol.levels import NodeState, Tier

FAR = 1e15
"""POSIX seconds of a time that never comes."""


def carry_out(conn: Connection, rt: Runtime, network: str, order: Order, now: float) -> list[Push]:
    """Take a network one step on towards what standings, time and `order` ask for; what follows for its nodes."""
    view = NetworkView(conn, rt, network, order, now)
    _tell_unusable(conn, view, now)
    stragglers.give_up(conn, network, view.give_up_on_stragglers(), now)
    renewed = _settle(conn, rt, view)
    contents = view.rotating().contents()
    pushes = _deliver(conn, rt, view, contents)
    view.forget_epochs(contents)
    view.book.save(conn)
    _note(conn, rt, view, renewed=renewed)
    return pushes


def _note(conn: Connection, rt: Runtime, view: NetworkView, *, renewed: bool) -> None:
    row = schema.network
    mine = row.c.name == view.network
    pending = view.moves()
    if renewed:
        conn.execute(update(row).where(mine).values(stepped_at=view.now))
    if not pending:
        conn.execute(update(row).where(mine if renewed else mine & row.c.pending).values(settled_at=view.now))
    conn.execute(update(row).where(mine).values(look_at=_look_at(rt, view), pending=pending))


class NetworkView:
    """Everything that concerns a network, read once; pairs are destinations by source, nodes are slots."""

    def __init__(self, conn: Connection, rt: Runtime, network: str, order: Order, now: float) -> None:
        self.network, self.order, self.now = network, order, now
        self.rows = member_rows(conn, network)
        numbers = numbers_by_state(conn, network)
        self.members = {row.slot: member_of(row, {} if row.node_id in order.expelled else numbers) for row in self.rows}
        self.book = EpochBook(conn, rt, network)
        self.versions = usable(conn, network, self.book.versions())
        self.deliveries = Deliveries(conn, network, rt.generation, now - rt.policy.rotation.drain_s)
        self.rotate_at: dict[str, float] = {}
        self._rules = rt.policy.rotation
        self._records = self.deliveries.records(self.rows)
        given_up = stragglers.given_up(conn, network)
        self._pairs = {
            source: [each for each in met if (source, each) not in given_up]
            for source, met in partners([*self.members.values()]).items()
        }

    def rotating(self) -> Network:
        """The network as its rotation goes, by the epochs that its sources now have."""
        alive = {slot: self.book.of(member.node_id) for slot, member in self.members.items()}
        courses = {
            slot: course_of(found, patience_s(self._rules, self.members[slot]), self.now)
            for slot, found in alive.items()
            if found.epochs
        }
        return Network(self._pairs, courses, self._records)

    def has_come(self, row: Row[Any]) -> bool:
        """Whether the epoch that the source is due for was issued ahead, and its time has come."""
        alive = self.book.of(row.node_id)
        return any(row.rotate_at <= each.not_before <= self.now for each in alive.epochs if each.not_before > 0)

    def give_up_on_stragglers(self) -> list[tuple[int, int, str]]:
        """Take the pairs out whose time is over: source, destination, and the id of the node waited for in vain."""
        found = []
        for source, destination, end, until in self.waiting(self.rotating()):
            if until <= self.now:
                self._pairs[source].remove(destination)
                found.append((source, destination, self.members[end].node_id))
        return found

    def moves(self) -> bool:
        """Whether a step of some rotation is still to come."""
        rotating = self.rotating()
        return any(rotating.moves(source) for source in rotating.courses)

    def told(self, slot: int, contents: Contents) -> None:
        """A delivery was made to the node."""
        self._records[slot] = self._records.get(slot, UNKNOWN).told(contents, self.now)
        self.deliveries.note(self.members[slot].node_id, self.now)

    def waiting(self, rotating: Network) -> Iterator[tuple[int, int, int, float]]:
        """Source, destination, the end waited for, and until when, of every pair that waits for an end."""
        for source in rotating.courses:
            if rotating.moves(source):
                for destination, end, until in [*rotating.waiting(source)]:
                    yield source, destination, end, until

    def forget_epochs(self, contents: Mapping[int, Contents]) -> None:
        """Drop the epochs that nobody is to hold any more; the newest stay."""
        held: dict[int, set[int]] = {slot: set() for slot in self.members}
        for each in contents.values():
            for source, epochs in each.inbound.items():
                held[source].update(epochs)
        for slot, member in self.members.items():
            alive = self.book.of(member.node_id)
            if alive.epochs:
                target = alive.target(self.now)
                self.book.keep(member.node_id, held[slot] | {each for each in alive.numbers() if each >= target})


def _tell_unusable(conn: Connection, view: NetworkView, now: float) -> None:
    for row in view.rows:
        why = why_unusable(row.enclave_kind, row.delivery_public)
        if why and row.version is not None:
            text = f"no key can be delivered to {row.name}: its delivery key is unusable ({why})"
            raise_alert(conn, "error", "delivery-impossible", row.node_id, text, {"network": view.network}, now)


def _settle(conn: Connection, rt: Runtime, view: NetworkView) -> bool:
    """New epochs for the sources that are to have one; whether there are any."""
    rotating, rules = view.rotating(), rt.policy.rotation
    renew = due(view.rows, view.members, rules, view.now)
    changes: list[dict[str, Any]] = []
    any_renewed, outage_s = False, rt.policy.delivery.outage_s
    for row in view.rows:
        member = view.members[row.slot]
        came = row.slot in renew and view.has_come(row)
        wanted = (row.slot in renew and not came) or rotating.gained(row.slot)
        renewed = settle_epochs(view.book, member, view.versions, view.order, wanted, view.now) or came
        any_renewed |= renewed
        period = rules.period_s(member.grant.rotation)
        rotate_at = (row.rotate_at if came else view.now) + period if renewed else row.rotate_at
        view.rotate_at[row.node_id] = rotate_at
        if outage_s > 0 and member.grant.tier is Tier.HIGH and not member.cut_off:
            issue_ahead(view.book, member, times_ahead(rotate_at, period, view.now + outage_s), view.now)
        changes += _changed(row, member, rotate_at)
    _update_members(conn, view.network, changes, "version", "rotate_at")
    return any_renewed


def _changed(row: Row[Any], member: Member, rotate_at: float) -> list[dict[str, Any]]:
    version, at = (None, 0.0) if member.cut_off else (member.version, rotate_at)
    if (row.version, row.rotate_at) == (version, at):
        return []
    return [{"of": row.node_id, "version": version, "rotate_at": at}]


def _update_members(conn: Connection, network: str, changes: list[dict[str, Any]], *columns: str) -> None:
    if not changes:
        return
    member = schema.member
    change = update(member).where((member.c.network == network) & (member.c.node_id == bindparam("of")))
    conn.execute(change.values({column: bindparam(column) for column in columns}), changes)


def _deliver(conn: Connection, rt: Runtime, view: NetworkView, contents: Mapping[int, Contents]) -> list[Push]:
    epochs = {slot: view.book.of(member.node_id) for slot, member in view.members.items()}
    places = {row.slot: place_of(row) for row in view.rows}
    plan = Plan(conn, rt, view.network, view.members, epochs, places)
    half_ago = view.now - rt.policy.delivery.lease_s / 2
    pushes, owing = [], []
    for row in view.rows:
        member, sent = view.members[row.slot], view.deliveries.sent(row.node_id)
        held = contents.get(row.slot, NOTHING)
        digest = plan.digest(row.slot, held)
        ageing = not member.cut_off and sent.issued_at <= half_ago
        nothing_to_take_back = member.cut_off and sent.digest == ""
        silenced = member.state is NodeState.RETIRED or bool(why_unusable(row.enclave_kind, row.delivery_public))
        if silenced or nothing_to_take_back or (digest == sent.digest and not ageing):
            continue
        pushes.append(plan.deliver(row, held, digest, view.now))
        view.told(row.slot, held)
        if row.outstanding_since is None:
            owing.append({"of": row.node_id, "outstanding_since": view.now})
    plan.save(conn)
    _update_members(conn, view.network, owing, "outstanding_since")
    return pushes


def _look_at(rt: Runtime, view: NetworkView) -> float:
    """When time alone changes something next; an acknowledgement may do so before."""
    holders = [member.node_id for member in view.members.values() if not member.cut_off]
    times = [view.deliveries.sent(node_id).issued_at + rt.policy.delivery.lease_s / 2 for node_id in holders]
    times += [view.rotate_at[node_id] for node_id in holders]
    if view.moves():
        times += [ended + rt.policy.rotation.drain_s for ended in view.deliveries.drains()]
        times += [until for *_, until in view.waiting(view.rotating())]
    return min(times, default=FAR)
