"""An authority with a fleet that its own code made, a clock that stands until moved, and browsers without a screen."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from msgspec.structs import replace
from sqlalchemy import Connection, insert, select, update

from authority import policies
from authority.alerts import FileSink
from authority.alerts.destinations import Destination
from authority.keys import FileKek
from authority.oidc import SignOn
from authority.operators import create_operator_token
from authority.pki import CertificateAuthority
from authority.planes import Hub
from authority.planes.operator_context import OperatorContext
from authority.planes.operator_plane import create_operator_app
from authority.roles import Scope
from authority.runtime import Runtime
from authority.store import Store, schema
from authority.trust import default_policy
from protocol.codec import encode
from protocol.messages import ModalityModel
from tests.authority.world import tpm2b_public

HOST = "127.0.0.1"
ORIGIN = f"https://{HOST}"
START = 1_700_000_000.0
READ, OPERATE, APPROVE = [Scope.READ], [Scope.READ, Scope.OPERATE], [Scope.READ, Scope.APPROVE]


@dataclass
class House:
    """`clock` is moved by hand; `app` is the operator plane."""

    ca: CertificateAuthority
    store: Store
    rt: Runtime
    app: FastAPI
    moved: Clock
    hub: Hub
    browsers: int = 0

    def do(self, action: Callable[[Connection], Any]) -> Any:
        return self.store.run(action)

    def token(self, name: str, scopes: Sequence[Scope], lifetime_s: float = 86400.0) -> str:
        return str(
            self.do(lambda conn: create_operator_token(conn, self.rt, name, scopes, lifetime_s, f"person:{name}"))
        )

    def node(self, name: str, **values: Any) -> str:
        """A node as joining leaves it; gives its id."""
        return str(self.do(lambda conn: add_node(conn, self.rt, name, **values)))

    def row(self, table: Any, kept: Any) -> Any:
        return self.do(lambda conn: conn.execute(select(table).where(kept)).first())

    def row_id(self, name: str) -> str:
        return str(self.row(schema.node, schema.node.c.name == name).id)

    def set_node(self, name: str, **values: Any) -> None:
        change = update(schema.node).where(schema.node.c.name == name).values(**values)
        self.do(lambda conn: conn.execute(change) and None)

    def audited(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        row = schema.audit
        rows = self.do(lambda conn: conn.execute(select(row).where(row.c.kind == kind).order_by(row.c.seq)).all())
        return [(each.actor, json.loads(each.data)) for each in rows]

    def browser(self) -> Browser:
        """A browser at an address of its own."""
        self.browsers += 1
        return Browser(self.app, f"10.9.{self.browsers // 250}.{self.browsers % 250 + 1}")

    def signed_in(self, scopes: Sequence[Scope] = (Scope.ADMIN,), name: str = "olga") -> Browser:
        """A browser whose user has signed in by a new token."""
        browser = self.browser()
        assert browser.sign_in(self.token(name, scopes)).status_code == 303
        return browser


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Browser:
    """Keeps cookies, and sends forms as a browser sends those of the page it is on."""

    app: FastAPI
    address: str
    cookies: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def sent() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=(self.address, 40_000))
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, cookies=self.cookies) as http:
                response = await http.request(method, path, **options)
                self._keep(response)
                return response

        return asyncio.run(sent())

    def _keep(self, response: httpx.Response) -> None:
        for text in response.headers.get_list("set-cookie"):
            name, value = text.split(";")[0].split("=", 1)
            self.cookies.pop(name, None)
            if value.strip('"'):
                self.cookies[name] = value

    def get(self, path: str) -> httpx.Response:
        return self.send("GET", path)

    def page(self, path: str) -> str:
        response = self.get(path)
        assert response.status_code == 200, response.text
        return response.text

    def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """A form with the token of this browser's session, sent by a page of ours unless `headers` say otherwise."""
        sent = {"origin": ORIGIN, "sec-fetch-site": "same-origin"} | {
            name.replace("_", "-"): text for name, text in headers.items()
        }
        given = fields or {}
        if "form_token" not in given:
            given = given | {"form_token": self.form_token()}
        return self.send("POST", path, data=given, headers={name: text for name, text in sent.items() if text})

    def form_token(self, path: str = "/console") -> str:
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', self.get(path).text)
        assert found is not None
        return found[1]

    def sign_in(self, token: str, **fields: str) -> httpx.Response:
        form = {"form_token": self.form_token("/console/sign-in"), "token": token, **fields}
        return self.post("/console/sign-in", form)


@contextmanager
def open_house(
    folder: Path, now: float = START, believing: Callable[[Callable[[], float]], SignOn] | None = None
) -> Iterator[House]:
    """With `believing`, which is given the clock, people sign in at an identity provider."""
    folder.mkdir()
    clock, seed = Clock(now), random.Random(19)
    ca = CertificateAuthority.create(folder / "ca", [HOST], clock())
    kek = FileKek(seed.randbytes(32), seed.randbytes)
    policy = replace(default_policy(), version="site-1")
    rt = Runtime(
        policy,
        clock,
        seed.randbytes,
        kek,
        ca.kos_key,
        ca.approval_key,
        1,
        ear_key=ca.ear_key(),
        log=ca.log_signer(clock()),
    )
    store, hub = Store("sqlite://"), Hub()
    store.run(lambda conn: policies.note(conn, policy, "authority", clock()))
    sign_on = None if believing is None else believing(clock)
    going = [Destination("siem", FileSink(folder / "alerts.log"))]
    try:
        yield House(
            ca,
            store,
            rt,
            create_operator_app(OperatorContext(store, rt, hub, ca.ca_sha256, None, lambda: going, sign_on=sign_on)),
            clock,
            hub,
        )
    finally:
        store.close()


def add_node(conn: Connection, rt: Runtime, name: str, **values: Any) -> str:
    node_id = hashlib.sha256(name.encode()).hexdigest()
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    row = {
        "id": node_id,
        "name": name,
        "state": "active",
        "lab": False,
        "ownership": "taken",
        "ek_public": b"",
        "ak_public": b"",
        "delivery_public": tpm2b_public(key),
        "certificate_sha256": "",
        "certificate_not_after": rt.now() + 30 * 86400,
        "reference_pcrs": "{}",
        "devices": "[]",
        "joined_at": rt.now(),
    }
    conn.execute(insert(schema.node).values(**row | values))
    return node_id


def enrol(conn: Connection, rt: Runtime, node_id: str, admin: str, state: str = "active", **times: float) -> str:
    """A profile as enrolling leaves it; gives its record id."""
    if conn.scalar(select(schema.administrator.c.name).where(schema.administrator.c.name == admin)) is None:
        conn.execute(insert(schema.administrator).values(name=admin, created_at=rt.now()))
    record_id = rt.random(16).hex()
    models = [ModalityModel(modality=name, model="m", parameters="1") for name in ("face", "fingerprint")]
    values = {"record_id": record_id, "enrolment_id": rt.random(16).hex(), "node_id": node_id, "admin": admin}
    more = {"nonce": b"", "release_share": b"", "modalities": encode(models).decode()}
    times = {"created_at": rt.now(), "expires_at": rt.now() + 600} | times
    conn.execute(insert(schema.profile).values(**values, **more, **times, state=state))
    return record_id
