"""Calls of the open API, each with the type of its answer."""

from __future__ import annotations

import os
import ssl
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from authority import api
from protocol.problems import Problem
from protocol.signals import SignalReceipt, SignalReport

T = TypeVar("T")
TIMEOUT_S = 15.0
BULK_TIMEOUT_S = 120.0


class ApiError(Exception):
    """The authority refused, or did not answer as one; `problem` is what it said, and `status` 0 if it said nothing.

    `retry_after_s` is there when it told when to try again.
    """

    def __init__(self, message: str, problem: Problem | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.problem = problem
        self.status = 0 if problem is None else problem.status
        self.retry_after_s = retry_after_s


class OpenApi:
    """An authority's operator plane, asked with a token or with a client certificate.

    `ca_file` is the authority's CA certificate (PEM); `certificate` and `key` are files (PEM). Every order that is sent
    bears an idempotency key: one that is repeated after a broken connection, with the same `key`, is carried out once.
    Raises `ApiError` from every call, and `OSError` for files that cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: str | os.PathLike[str],
        token: str | None = None,
        certificate: tuple[Path, Path] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        context = ssl.create_default_context(cafile=os.fspath(ca_file))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._http = httpx.Client(
            base_url=url, headers=headers, verify=context, timeout=TIMEOUT_S, trust_env=False, transport=transport
        )

    def __enter__(self) -> OpenApi:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def nodes(self, **wanted: str | bool) -> Iterator[api.Node]:
        """Nodes by name, page by page; `state`, `tier`, `lab`, `network` and `search` choose among them."""
        return self._pages("/v1/nodes", api.Node, wanted)

    def node(self, name: str) -> api.NodeDetail:
        """One node, by name or id."""
        return self._get(f"/v1/nodes/{_segment(name)}", api.NodeDetail)

    def summon(self, node: str, *, key: str | None = None) -> api.Done:
        """Ask somebody to present themselves at a node now."""
        return self._order(f"/v1/nodes/{_segment(node)}/challenge", None, key)

    def isolate(self, node: str, reason: str, *, key: str | None = None) -> api.Done:
        """Cut a node off from every peer."""
        return self._order(f"/v1/nodes/{_segment(node)}/isolate", {"reason": reason}, key)

    def ban(self, node: str, reason: str, *, key: str | None = None) -> api.Done | api.Waiting:
        """Cut a node off until an operator releases it; where two persons are asked for, it waits for the second."""
        return self._weighty(f"/v1/nodes/{_segment(node)}/ban", {"reason": reason}, key)

    def release(self, node: str, reason: str, *, key: str | None = None) -> api.Done | api.Waiting:
        """Let a node back in; where two persons are asked for, it waits for the second."""
        return self._weighty(f"/v1/nodes/{_segment(node)}/release", {"reason": reason}, key)

    def approvals(self, **wanted: str) -> Iterator[api.Approval]:
        """Orders that wait for a second operator, or did; `state` chooses among them."""
        return self._pages("/v1/approvals", api.Approval, wanted)

    def approve(self, number: int, reason: str = "") -> api.Done:
        """Carry out what another operator asked for."""
        return self._order(f"/v1/approvals/{number}/approve", {"reason": reason}, None)

    def reject(self, number: int, reason: str = "") -> api.Done:
        """Close an order that is not to be carried out."""
        return self._order(f"/v1/approvals/{number}/reject", {"reason": reason}, None)

    def approve_profile(self, record_id: str, *, key: str | None = None) -> api.Done | api.Waiting:
        """Let an enrolled administrator answer for the node."""
        return self._weighty(f"/v1/profiles/{_segment(record_id)}/approve", None, key)

    def revoke_everywhere(self, admin: str, reason: str, *, key: str | None = None) -> api.Revocation | api.Waiting:
        """Revoke an administrator at every node; where the policy asks two persons for that, it waits."""
        answer = self._post(f"/v1/admins/{_segment(admin)}/revoke", {"reason": reason}, key)
        waits = answer.status_code == httpx.codes.ACCEPTED
        return _read(answer, api.Waiting) if waits else _read(answer, api.Revocation)

    def readmit(self, admin: str, reason: str, *, key: str | None = None) -> api.Done:
        """Let a revoked administrator have tickets again, to enrol anew."""
        return self._order(f"/v1/admins/{_segment(admin)}/readmit", {"reason": reason}, key)

    def profiles(self, **wanted: str) -> Iterator[api.Profile]:
        """Registered profiles, newest first; `state` and `node` choose among them."""
        return self._pages("/v1/profiles", api.Profile, wanted)

    def join_tokens(
        self, names: Iterable[str], *, lab: bool = False, lifetime_s: float = 3600, key: str | None = None
    ) -> list[api.JoinToken]:
        """A one-time token for each of these nodes, or for none."""
        body = {"nodes": [{"name": name, "lab": lab} for name in names], "lifetime_s": lifetime_s}
        return self._send("/v1/join-tokens/bulk", body, key, list[api.JoinToken])

    def tickets(
        self, wanted: Iterable[tuple[str, str]], *, lifetime_s: float = 3600, key: str | None = None
    ) -> list[api.Ticket]:
        """A one-time ticket and its PIN for each administrator and node, or for none; takes some 50 ms each."""
        body = {"tickets": [{"admin": admin, "node": node} for admin, node in wanted], "lifetime_s": lifetime_s}
        return _read(self._post("/v1/tickets/bulk", body, key, BULK_TIMEOUT_S), list[api.Ticket])

    def node_roster(self, **wanted: str | bool | float) -> Iterator[api.RosterNode]:
        """Nodes for an auditor, by name; as `nodes`, and `unseen_since` chooses among them."""
        return self._pages("/v1/roster/nodes", api.RosterNode, wanted)

    def administrator_roster(self, **wanted: str) -> Iterator[api.RosterAdministrator]:
        """Administrators and where they are known, by name; `state`, `node` and `search` choose among them."""
        return self._pages("/v1/roster/administrators", api.RosterAdministrator, wanted)

    def stale(self, **wanted: float) -> Iterator[api.StaleNode]:
        """Nodes that nobody sees any more, by name; `alert_s` and `retire_s` try limits other than the policy's."""
        return self._pages("/v1/stale", api.StaleNode, wanted)

    def fleet_orders(self) -> Iterator[api.FleetOrder]:
        """Orders over the whole fleet, oldest first, and how far their passes have come."""
        return self._pages("/v1/fleet-orders", api.FleetOrder, {})

    def stage(self, value: int, *, key: str | None = None, **wave: str | float) -> api.RolledOut | api.Waiting:
        """Accept a reference value that has held at its node at a share of the nodes: `percent`, `network`, `group`.

        `held_percent` demands that so many of those that accept it have shown it, and none fails.
        """
        answer = self._post(f"/v1/references/{value}/stage", wave, key)
        waits = answer.status_code == httpx.codes.ACCEPTED
        return _read(answer, api.Waiting) if waits else _read(answer, api.RolledOut)

    def rollout(self, value: int) -> Iterator[api.RolloutNode]:
        """The nodes that a reference value was rolled out to, by name."""
        return self._pages(f"/v1/references/{value}/rollout", api.RolloutNode, {})

    def roll_back(self, value: int, *, key: str | None = None) -> api.RolledOut:
        """Withdraw a reference value wherever it was rolled out to."""
        return self._send(f"/v1/references/{value}/rollback", None, key, api.RolledOut)

    def networks(self) -> Iterator[api.Network]:
        """Networks with members and key versions."""
        return self._pages("/v1/networks", api.Network, {})

    def alerts(self, after: int = 0, **wanted: str | bool) -> Iterator[api.Alert]:
        """Alerts above an id, oldest first; `open` and `severity` choose among them."""
        return self._pages("/v1/alerts", api.Alert, {"after": after, **wanted})

    def acknowledge(self, alert: int, reason: str, *, key: str | None = None) -> api.Done:
        """Note that you looked at an alert, and what you found."""
        return self._order(f"/v1/alerts/{alert}/acknowledge", {"reason": reason}, key)

    def audit(self, after: int = 0, **wanted: str) -> Iterator[api.AuditRecord]:
        """Audit records above a sequence number, oldest first; `kind` and `actor` choose among them."""
        return self._pages("/v1/audit", api.AuditRecord, {"after": after, **wanted})

    def signal(self, report: SignalReport) -> SignalReceipt:
        """Tell of a node's behaviour; the same `ref` again changes nothing."""
        return self._send("/v1/signals", report, None, SignalReceipt)

    def attestation_result(self, node: str, nonce: str | None = None) -> str:
        """A signed attestation result (EAR as JWT) about a node, to be verified with `keys`."""
        query = {} if nonce is None else {"nonce": nonce}
        return self._get(f"/v1/nodes/{_segment(node)}/ear", api.AttestationResult, query).ear

    def attestation_results(self, after: int = 0, **wanted: str | float) -> Iterator[api.IssuedResult]:
        """Results as they were issued, above an id, oldest first; `node` and `since` (POSIX seconds) choose."""
        return self._pages("/v1/attestation-results", api.IssuedResult, {"after": after, **wanted})

    def keys(self) -> api.KeySet:
        """The keys that attestation results are verified with."""
        return self._get("/v1/jwks", api.KeySet)

    def _get(self, path: str, kind: type[T], query: Mapping[str, Any] | None = None) -> T:
        return _read(self._ask("GET", path, params=_query(query or {})), kind)

    def _pages(self, path: str, kind: type[T], query: Mapping[str, Any]) -> Iterator[T]:
        following, wanted = path, _query(query)
        while following:
            answer = self._ask("GET", following, params=wanted or None)
            yield from _read(answer, list[kind])  # type: ignore[valid-type]
            following, wanted = answer.links.get("next", {}).get("url", ""), {}

    def _order(self, path: str, body: object, key: str | None) -> api.Done:
        return self._send(path, body, key, api.Done)

    def _weighty(self, path: str, body: object, key: str | None) -> api.Done | api.Waiting:
        answer = self._post(path, body, key)
        return _read(answer, api.Waiting) if answer.status_code == httpx.codes.ACCEPTED else _read(answer, api.Done)

    def _send(self, path: str, body: object, key: str | None, kind: type[T]) -> T:
        return _read(self._post(path, body, key), kind)

    def _post(self, path: str, body: object, key: str | None, timeout_s: float = TIMEOUT_S) -> httpx.Response:
        headers = {"idempotency-key": key or str(uuid.uuid4()), "content-type": "application/json"}
        content = b"" if body is None else msgspec.json.encode(body)
        return self._ask("POST", path, headers=headers, content=content, timeout=timeout_s)

    def _ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **sent)
        except httpx.HTTPError as error:
            raise ApiError(f"the authority at {self._http.base_url} does not answer: {error}") from None
        if not answer.is_success:
            raise _refusal(answer)
        return answer


def _refusal(answer: httpx.Response) -> ApiError:
    wait = answer.headers.get("retry-after", "")
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.DecodeError:
        return ApiError(f"refused with status {answer.status_code}, and no problem that says why")
    return ApiError(problem.detail or problem.title, problem, int(wait) if wait.isdecimal() else None)


def _read(answer: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise ApiError(f"the answer is not as this client knows it: {error}") from None


def _query(wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in wanted.items()}


def _segment(text: str) -> str:
    """`text` as one segment of a path: it never names another resource."""
    if text in {"", ".", ".."}:
        raise ApiError(f"{text!r} is not a name")
    return quote(text, safe="")
