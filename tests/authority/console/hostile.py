"""Words that would be code, in every field that a node, a person or a file fills; and a site that means ill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

from fastapi import FastAPI
from sqlalchemy import Connection, insert, select, update
from starlette.responses import HTMLResponse

from authority import audit, policies, references, standing
from authority.alerts import raise_alert
from authority.keys import networks
from authority.planes import operator_server
from authority.store import schema, schema_api
from protocol.levels import ResourceClass
from tests.authority.console.house import HOST, House, enrol
from tests.authority.planes.plane import listening

WORDS = (
    "<img src=x: onerror=hit=1>",
    "<svg onload=hit=1>",
    '"><script>hit=1</script>',
    "' autofocus onfocus='hit=1",
    '" autofocus onfocus="hit=1',
    "</title></textarea></pre><iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "javascript:hit=1",
)
"""Elements, attributes, the ends of elements that hold text, and an address."""
ALL = " ".join(WORDS)


def furnish(house: House) -> list[str]:
    """Hostile words wherever there is a place for them, past every check of their length and form; the pages."""
    told = json.dumps([{"kind": ALL, "driver": ALL, ALL: ALL}])
    ids = [house.node(each, devices=told, endpoint=each, enclave_kind=each) for each in WORDS]
    house.do(lambda conn: _say(conn, house, ids[0]))
    newest = house.do(audit.log_size)
    lists = ("", "/alerts", "/alerts/1", "/approvals", "/networks", f"/networks/{quote(WORDS[1])}", "/policy", "/audit")
    asked = [f"?q={quote(each)}&network={quote(each)}" for each in WORDS[2:5]]
    more = [f"/audit/{newest}", f"/audit?kind={quote(ALL)}&actor={quote(ALL)}", f"/nodes/{quote(WORDS[1])}-gone"]
    return [f"/console{each}" for each in (*lists, *(f"/nodes/{each}" for each in ids[:2]), *asked, *more)]


def _say(conn: Connection, house: House, node_id: str) -> None:
    rt, now = house.rt, house.rt.now()
    enrol(conn, rt, node_id, ALL, "pending")
    networks.create_network(conn, rt, WORDS[1], now)
    networks.add_member(conn, rt, WORDS[1], node_id, "10.0.0.1", ResourceClass.NORMAL, now)
    row = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).first()
    references.note_candidate(conn, row, references.Kind.PCRS, dict.fromkeys(WORDS, ALL), now)
    order = {"action": "node-ban", "target": ALL, "arguments": "{}", "reason": ALL, "requested_by": ALL}
    times = {"requested_at": now, "expires_at": now + 600}
    conn.execute(insert(schema_api.approval).values(**order, **times, state="open"))
    standing.isolate(conn, rt, node_id, ALL, ALL, now)
    policies.note(conn, rt.policy, ALL, now)
    conn.execute(update(schema.policy_version).values(version=ALL))
    raise_alert(conn, "error", WORDS[1], node_id, ALL, {ALL: ALL}, now)
    conn.execute(update(schema.alert).values(kind=WORDS[1], text=ALL))
    audit.append(conn, WORDS[1], ALL, node_id, {ALL: ALL}, now)


@dataclass
class Site:
    """Pages of somebody else, by name."""

    port: int
    pages: dict[str, str] = field(default_factory=dict)

    def put(self, markup: str, host: str = HOST) -> str:
        """The address of a page that says `markup`; on `HOST` the console's cookies count it as their own site."""
        name = f"p{len(self.pages)}"
        self.pages[name] = f"<!doctype html><title>elsewhere</title><main>{markup}</main>"
        return f"https://{host}:{self.port}/{name}"


@contextmanager
def elsewhere(house: House) -> Iterator[Site]:
    """A site that forbids a browser nothing."""
    app, site = FastAPI(), Site(0)

    @app.get("/{name}")
    async def page(name: str) -> HTMLResponse:
        return HTMLResponse(site.pages.get(name, ""))

    with listening(operator_server(app, house.ca, HOST, 0)) as running:
        site.port = running.server.port
        yield site
