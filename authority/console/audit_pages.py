"""The audit log: records by kind, actor and node, each with its proof, and the log's checkpoint."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from authority import audit, checkpoints
from authority.console import proofs, words
from authority.console.desk import Desk, Visit
from authority.console.fleet import PAGE
from authority.console.fleet_page import labelled
from authority.console.frame import page
from authority.console.markup import Child, Markup, h, path
from authority.console.node_page import node_of, proven
from authority.console.proofs import Proof
from authority.roles import Scope
from authority.store import schema

_ROW = schema.audit
_SHORT = 160
_LARGEST = 2**63 - 1


def audit_routes(desk: Desk) -> None:
    """The list, and one record."""

    @desk.page("/audit", Scope.AUDIT)
    async def listing(visit: Visit) -> Markup:
        """Records, newest first: those before a number, so that a page stays what it was while the log grows."""
        before = _before(visit)

        def view(conn: Connection) -> tuple[Any, ...]:
            rows = _listed(conn, _kept(conn, visit), before)
            return rows, _names(conn, rows), audit.log_size(conn), _checkpoint(conn, visit)

        rows, names, size, checkpoint = await visit.read(view)
        steps = _steps(visit, rows, before)
        return page(visit, "audit", "Audit log", _head(size, checkpoint), _filters(visit), _table(rows, names), steps)

    @desk.page("/audit/{seq}", Scope.AUDIT)
    async def show(visit: Visit) -> Markup:
        """One record with its proof."""
        seq = visit.number("seq")

        def view(conn: Connection) -> tuple[Any, ...]:
            proof = proofs.prove(conn, visit.context.runtime, seq, visit.now)
            row = conn.execute(select(_ROW).where(_ROW.c.seq == seq)).one()
            return row, _names(conn, [row]), proof

        row, names, proof = await visit.read(view)
        return page(visit, "audit", f"Record {seq}", proven(proof), _facts(row, names), _proof(proof))


def _before(visit: Visit) -> int:
    return visit.page_number("before") if visit.asked("before") else _LARGEST


def _kept(conn: Connection, visit: Visit) -> list[ColumnElement[bool]]:
    kept: list[ColumnElement[bool]] = []
    if kind := visit.asked("kind"):
        kept.append(_ROW.c.kind.contains(kind, autoescape=True))
    if actor := visit.asked("actor"):
        kept.append(_ROW.c.actor == actor)
    if node := visit.asked("node"):
        kept.append(_ROW.c.node_id == node_of(conn, node).id)
    return kept


def _listed(conn: Connection, kept: list[ColumnElement[bool]], before: int) -> list[Row[Any]]:
    query = select(_ROW).where(_ROW.c.seq < before, *kept).order_by(_ROW.c.seq.desc()).limit(PAGE + 1)
    return [*conn.execute(query)]


def _names(conn: Connection, rows: list[Row[Any]]) -> dict[str, str]:
    ids = {each.node_id for each in rows if each.node_id} | {each.actor for each in rows}
    node = schema.node
    query = select(node.c.id, node.c.name).where(node.c.id.in_(ids))
    return {each.id: each.name for each in conn.execute(query)}


def _checkpoint(conn: Connection, visit: Visit) -> Row[Any] | None:
    if visit.context.runtime.log is None or audit.log_size(conn) == 0:
        return None
    row = schema.log_checkpoint
    newest = conn.execute(select(row).order_by(row.c.size.desc()).limit(1)).first()
    return newest or checkpoints.issue(conn, visit.context.runtime, visit.now)


def _head(size: int, checkpoint: Row[Any] | None) -> Markup:
    if checkpoint is None:
        return h("p", f"{size:,} records. No checkpoint has been signed.")
    said = f"{size:,} records. The newest checkpoint covers {checkpoint.size:,}, signed "
    note = h("details", h("summary", "Signed checkpoint"), h("pre", checkpoint.note, tabindex=0))
    more = (
        "Keep it elsewhere: `keyvigil-authority audit verify --checkpoint FILE` shows whether the log still "
        "continues it."
    )
    return h("div", h("p", said, words.moment(checkpoint.at), "."), note, h("p", words.prose(more), class_="faint"))


def _filters(visit: Visit) -> Markup:
    def field(name: str, text: str) -> Markup:
        return labelled(name, text, h("input", id=name, name=name, value=visit.asked(name), maxlength=80))

    return h(
        "form",
        field("kind", "Kind contains"),
        field("actor", "By"),
        field("node", "Node"),
        h("button", "Show"),
        method="get",
        action=path("audit"),
        class_="filters",
        aria_label="Filter records",
    )


def _table(rows: list[Row[Any]], names: dict[str, str]) -> Markup:
    made = [
        (
            h("a", each.seq, href=path("audit", each.seq)),
            words.moment(each.at),
            each.kind,
            names.get(each.actor, each.actor),
            _node(each.node_id, names),
            h("code", each.data if len(each.data) <= _SHORT else f"{each.data[:_SHORT]} …"),
        )
        for each in rows[:PAGE]
    ]
    return words.table(
        "Records", ("Record", "When", "What", "By", "Node", "Data"), made, "No record passes these filters."
    )


def _node(node_id: str | None, names: dict[str, str]) -> Child:
    if node_id is None:
        return h("span", "none", class_="faint")
    name = names.get(node_id)
    return h("code", node_id[:12]) if name is None else h("a", name, href=path("nodes", name))


def _steps(visit: Visit, rows: list[Row[Any]], before: int) -> Markup:
    asked = {name: visit.asked(name) for name in ("kind", "actor", "node")}
    newest = h("a", "Newest", href=path("audit", **asked)) if before != _LARGEST else None
    older = (
        h("a", "Older", href=path("audit", **asked, before=rows[PAGE - 1].seq), rel="next")
        if len(rows) > PAGE
        else None
    )
    return h("nav", newest, older, class_="pages", aria_label="Pages")


def _facts(row: Row[Any], names: dict[str, str]) -> Markup:
    data = json.dumps(json.loads(row.data), indent=2, ensure_ascii=False)
    facts = words.pairs(
        ("When", words.moment(row.at)),
        ("What", row.kind),
        ("By", names.get(row.actor, row.actor)),
        ("Node", _node(row.node_id, names)),
    )
    return words.section("Record", facts, h("pre", data, tabindex=0))


def _proof(proof: Proof) -> Markup:
    said = (
        "Computed here from the record, the hashes and the checkpoint's signature. To check it without trusting this "
        f"server: `keyvigil-authority audit proof {proof.seq}`, with the CA certificate alone."
    )
    hashes = "\n".join(each.hex() for each in proof.hashes) or "none: the record is the whole log"
    return words.section(
        "Proof",
        h("p", words.prose(said), class_="faint"),
        words.pairs(
            ("Leaf", h("code", proof.leaf.hex())),
            ("Root", h("code", proof.root.hex())),
            ("Checkpoint signed", words.moment(proof.at)),
        ),
        h("h3", "Hashes from leaf to root"),
        h("pre", hashes, tabindex=0),
        h("h3", "Signed checkpoint"),
        h("pre", proof.note, tabindex=0),
    )
