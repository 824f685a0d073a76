"""Every route of both planes and who may use it, written down apart from the code that decides it."""

from __future__ import annotations

from collections.abc import Mapping

Route = tuple[str, str]
"""Method and path."""

EVERYBODY = frozenset({"nobody", "agent", "viewer", "auditor", "operator", "admin", "tap"})
CALLERS = ("nobody", "wrong CA", "agent", "viewer", "auditor", "operator", "admin", "tap")
ADMINS = frozenset({"admin"})
OPERATORS = ADMINS | {"operator"}
AUDITORS = OPERATORS | {"auditor"}
VIEWERS = AUDITORS | {"viewer"}
TAPS = ADMINS | {"tap"}
NODES = frozenset({"agent"})

_SESSION_FORMS = (
    *(f"nodes/{{name}}/{verb}" for verb in ("challenge", "isolate", "release", "ban", "retire")),
    *(f"networks/{{name}}/{verb}" for verb in ("rotation", "emergency", "versions")),
    *(f"profiles/{{record_id}}/{verb}" for verb in ("approve", "refuse")),
    *(f"references/{{value_id}}/{verb}" for verb in ("accept", "reject")),
    *(f"orders/{{number}}/{verb}" for verb in ("approve", "reject")),
    *("alerts/{alert_id}/acknowledge", "brake/{decision}", "policy/replay", "sign-out", "sign-in"),
)
_SESSION_PAGES = (
    *("", "/nodes/{name}", "/alerts", "/alerts/{alert_id}", "/approvals", "/networks", "/networks/{name}"),
    *("/policy", "/audit", "/audit/{seq}"),
)
CONSOLE: Mapping[Route, frozenset[str]] = {
    ("GET", "/"): EVERYBODY,
    ("GET", "/console/sign-in"): EVERYBODY,
    ("GET", "/console/static/{name}"): EVERYBODY,
    **{("GET", f"/console{each}"): frozenset() for each in _SESSION_PAGES},
    **{("POST", f"/console/{each}"): frozenset() for each in _SESSION_FORMS},
}
"""No credential of the API opens a page: a session does, which `tests/authority/console` tries."""

OPERATOR_PLANE: Mapping[Route, frozenset[str]] = {
    **CONSOLE,
    ("GET", "/openapi.json"): EVERYBODY,
    ("GET", "/v1/nodes"): VIEWERS,
    ("GET", "/v1/nodes/{name}"): VIEWERS,
    ("GET", "/v1/nodes/{name}/ear"): VIEWERS,
    ("POST", "/v1/nodes/{name}/challenge"): OPERATORS,
    ("POST", "/v1/nodes/{name}/isolate"): OPERATORS,
    ("POST", "/v1/nodes/{name}/release"): OPERATORS,
    ("POST", "/v1/nodes/{name}/ban"): OPERATORS,
    ("POST", "/v1/nodes/{name}/retire"): OPERATORS,
    ("POST", "/v1/nodes/{name}/hostile"): OPERATORS,
    ("POST", "/v1/nodes/{name}/absolve"): OPERATORS,
    ("POST", "/v1/nodes/{name}/learn"): OPERATORS,
    ("POST", "/v1/nodes/{name}/tpm-auth"): ADMINS,
    ("POST", "/v1/join-tokens"): OPERATORS,
    ("POST", "/v1/admins/{admin}/tickets"): OPERATORS,
    ("POST", "/v1/join-tokens/bulk"): OPERATORS,
    ("POST", "/v1/tickets/bulk"): OPERATORS,
    ("POST", "/v1/admins/{admin}/revoke"): OPERATORS,
    ("POST", "/v1/admins/{admin}/readmit"): OPERATORS,
    ("GET", "/v1/roster/nodes"): VIEWERS,
    ("GET", "/v1/stale"): VIEWERS,
    ("GET", "/v1/roster/administrators"): VIEWERS,
    ("GET", "/v1/profiles"): VIEWERS,
    ("POST", "/v1/profiles/{record_id}/approve"): OPERATORS,
    ("POST", "/v1/profiles/{record_id}/revoke"): OPERATORS,
    ("POST", "/v1/profiles/{record_id}/erase"): OPERATORS,
    ("POST", "/v1/profiles/{record_id}/unlock"): OPERATORS,
    ("GET", "/v1/networks"): VIEWERS,
    ("POST", "/v1/networks"): OPERATORS,
    ("POST", "/v1/networks/{network}/members"): OPERATORS,
    ("POST", "/v1/networks/{network}/members/{name}"): OPERATORS,
    ("POST", "/v1/networks/{network}/members/{name}/remove"): OPERATORS,
    ("POST", "/v1/networks/{network}/rotate"): OPERATORS,
    ("POST", "/v1/networks/{network}/rotation/start"): OPERATORS,
    ("POST", "/v1/networks/{network}/rotation/emergency"): OPERATORS,
    ("POST", "/v1/networks/{network}/stage"): OPERATORS,
    ("POST", "/v1/networks/{network}/floor"): OPERATORS,
    ("GET", "/v1/rotations"): VIEWERS,
    ("GET", "/v1/mapping"): VIEWERS,
    ("GET", "/v1/mapping/export"): VIEWERS,
    ("POST", "/v1/mapping/nodes/{name}"): OPERATORS,
    ("POST", "/v1/mapping/import"): OPERATORS,
    ("GET", "/v1/jwks"): VIEWERS,
    ("GET", "/v1/attestation-results"): VIEWERS,
    ("GET", "/v1/result-subscribers"): VIEWERS,
    ("POST", "/v1/result-subscribers/test"): OPERATORS,
    ("GET", "/v1/references"): VIEWERS,
    ("GET", "/v1/references/{value_id}"): VIEWERS,
    ("GET", "/v1/references/{value_id}/rollout"): VIEWERS,
    ("POST", "/v1/references/{value_id}/accept"): OPERATORS,
    ("POST", "/v1/references/{value_id}/reject"): OPERATORS,
    ("POST", "/v1/references/{value_id}/stage"): OPERATORS,
    ("POST", "/v1/references/{value_id}/rollback"): OPERATORS,
    ("GET", "/v1/audit"): AUDITORS,
    ("GET", "/v1/audit/verify"): AUDITORS,
    ("GET", "/v1/audit/checkpoint"): AUDITORS,
    ("GET", "/v1/audit/consistency"): AUDITORS,
    ("GET", "/v1/audit/{seq}/proof"): AUDITORS,
    ("GET", "/v1/challenges/{challenge_id}/evidence"): AUDITORS,
    ("GET", "/v1/alerts"): VIEWERS,
    ("POST", "/v1/alerts/{alert_id}/acknowledge"): OPERATORS,
    ("GET", "/v1/alert-destinations"): VIEWERS,
    ("POST", "/v1/alert-destinations/test"): OPERATORS,
    ("GET", "/v1/groups"): VIEWERS,
    ("POST", "/v1/groups"): OPERATORS,
    ("POST", "/v1/groups/{group}/{verb}"): OPERATORS,
    ("GET", "/v1/brake"): VIEWERS,
    ("POST", "/v1/brake/{decision}"): OPERATORS,
    ("GET", "/v1/policy"): VIEWERS,
    ("POST", "/v1/policy/reload"): ADMINS,
    ("GET", "/v1/health"): VIEWERS,
    ("GET", "/v1/signals"): VIEWERS,
    ("POST", "/v1/signals"): TAPS,
    ("GET", "/v1/approvals"): VIEWERS,
    ("GET", "/v1/approvals/{approval_id}"): VIEWERS,
    ("POST", "/v1/approvals/{approval_id}/approve"): OPERATORS,
    ("POST", "/v1/approvals/{approval_id}/reject"): OPERATORS,
    ("GET", "/v1/tokens"): AUDITORS,
    ("POST", "/v1/tokens"): ADMINS,
    ("POST", "/v1/tokens/{name}/revoke"): ADMINS,
    ("GET", "/v1/persons"): AUDITORS,
    ("POST", "/v1/persons/shut-out"): ADMINS,
    ("POST", "/v1/persons/readmit"): ADMINS,
    ("GET", "/metrics"): ADMINS,
    ("GET", "/healthz"): EVERYBODY,
    ("GET", "/readyz"): EVERYBODY,
    ("POST", "/v1/break-glass"): EVERYBODY,
}

NODE_PLANE: Mapping[Route, frozenset[str]] = {
    ("GET", "/v1/ca"): EVERYBODY,
    ("GET", "/v1/ca/next"): EVERYBODY,
    ("POST", "/v1/join"): EVERYBODY,
    ("POST", "/v1/join/{join_id}/activate"): EVERYBODY,
    ("POST", "/v1/nonces"): EVERYBODY,
    ("POST", "/v1/renew"): EVERYBODY,
    ("POST", "/v1/enrolments"): NODES,
    ("PUT", "/v1/enrolments/{enrolment_id}"): NODES,
    ("POST", "/v1/enrolments/{enrolment_id}/index"): NODES,
    ("POST", "/v1/profiles/{record_id}/reset"): NODES,
    ("POST", "/v1/profiles/{record_id}/erased"): NODES,
    ("POST", "/v1/profiles/{record_id}/removal"): NODES,
    ("POST", "/v1/ownership/nonce"): NODES,
    ("POST", "/v1/ownership"): NODES,
    ("POST", "/v1/challenges/{challenge_id}/begin"): NODES,
    ("POST", "/v1/challenges/{challenge_id}/evidence"): NODES,
    ("POST", "/v1/challenges/{challenge_id}/failure"): NODES,
    ("POST", "/v1/challenges/{challenge_id}/group"): NODES,
    ("POST", "/v1/checkin"): NODES,
    ("POST", "/v1/attest"): NODES,
    ("GET", "/v1/deliveries"): NODES,
    ("POST", "/v1/deliveries/{number}/ack"): NODES,
    ("POST", "/v1/signals"): NODES,
    ("PUT", "/v1/data-plane"): NODES,
    ("GET", "/v1/mapping/{network}/{address}"): NODES,
    ("GET", "/v1/log/consistency"): NODES,
    ("WEBSOCKET", "/v1/events"): NODES,
}
