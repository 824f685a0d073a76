"""An operator plane in memory with tokens of every role, for tests that ask it without a network."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import select

from authority import audit
from authority.config import AuthorityConfig, Listener, Site
from authority.operators import create_operator_token
from authority.pki import CertificateAuthority
from authority.planes import Hub
from authority.planes.operator_context import OperatorContext
from authority.planes.operator_plane import create_operator_app
from authority.roles import ROLES, Role, Scope
from authority.runtime import Runtime
from authority.store import Store, schema
from authority.trust import Policy
from authority.watching import watch_over
from tests.authority.planes.plane import HOST, make_runtime


@dataclass
class OperatorSite:
    """An authority in memory, and its operator plane; `clock` stands still until moved."""

    store: Store
    runtime: Runtime
    app: FastAPI
    ca: CertificateAuthority
    clock: list[float]
    tokens: dict[str, str] = field(default_factory=dict)

    def token(self, name: str, scopes: Sequence[Scope] | frozenset[Scope], lifetime_s: float = 10 * 86400.0) -> str:
        rt = self.runtime
        self.tokens[name] = self.store.run(
            lambda conn: create_operator_token(conn, rt, name, [*scopes], lifetime_s, f"person:{name}")
        )
        return self.tokens[name]

    def ask(
        self, method: str, path: str, caller: str | None = "admin", headers: dict[str, str] | None = None, **sent: Any
    ) -> httpx.Response:
        """What the plane answers to the operator of that name, or to nobody."""
        with_token = {} if caller is None else {"authorization": f"Bearer {self.tokens[caller]}"}
        return asyncio.run(self._ask(method, path, {**with_token, **(headers or {})}, sent))

    async def _ask(self, method: str, path: str, headers: dict[str, str], sent: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="https://authority") as http:
            return await http.request(method, path, headers=headers, **sent)

    def audits(self, kind: str) -> list[str]:
        """Who did what is audited under `kind`."""
        query = select(schema.audit.c.actor).where(schema.audit.c.kind == kind).order_by(schema.audit.c.seq)
        return self.store.run(lambda conn: [*conn.scalars(query)])


def open_operator_site(folder: Path, policy: Policy | None = None, **options: Any) -> OperatorSite:
    """With a token of each role, named as the role is; watched over, without a state folder in order."""
    ca = CertificateAuthority.create(folder / f"ca-{os.urandom(4).hex()}", [HOST], time.time())
    clock = [time.time()]
    runtime = make_runtime(ca)
    runtime.now = lambda: clock[0]
    runtime.ear_key, runtime.log, runtime.results_kept_s = ca.ear_key(), ca.log_signer(clock[0]), 86400.0
    if policy is not None:
        runtime.policy = policy
    store = Store("sqlite://")
    config = AuthorityConfig([HOST], Listener(HOST, 1), Listener(HOST, 1))
    watch = watch_over(Site(folder, config), store, runtime, [])
    app = create_operator_app(OperatorContext(store, runtime, Hub(), ca.ca_sha256, watch=watch, **options))
    site = OperatorSite(store, runtime, app, ca, clock)
    store.run(lambda conn: audit.append(conn, "initialised", "authority", None, {}, clock[0]))
    for role in Role:
        site.token(role.value, ROLES[role])
    return site
