"""Who may join: the token, the kind of enclave and its endorsement, simulated devices, and names that never move."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, NoReturn

from cryptography import x509
from sqlalchemy import Connection, Row, exists, select

from authority import audit, groups, stale
from authority.alerts import raise_alert
from authority.enclaves import statement_node_id
from authority.refusal import Refused
from authority.runtime import Runtime
from authority.store import schema
from authority.tpm import EkIdentity, EndorsementRejected, verify_endorsement
from protocol.codec import ProtocolViolation
from protocol.levels import EnclaveKind, NodeState
from protocol.messages import JoinRequest
from protocol.names import check_name
from protocol.problems import ErrorCode
from protocol.tokens import parse_join_token

VIRTUAL = "virtual"
_ANONYMOUS = "anonymous"


def find_token(conn: Connection, request: JoinRequest, now: float) -> Row[Any]:
    """The unused token for this name; every wrong one is refused in the same words."""
    try:
        check_name("node", request.name)
        lookup = parse_join_token(request.token).lookup
    except ProtocolViolation as error:
        raise Refused(ErrorCode.MALFORMED, 400, str(error)) from None
    row = conn.execute(select(schema.join_token).where(schema.join_token.c.lookup == lookup)).first()
    cause = _token_flaw(row, request.name, now)
    if row is None or cause:
        refuse_token(conn, request.name, cause, now)
    return row


def refuse_token(conn: Connection, name: str, cause: str, now: float) -> NoReturn:
    """Refuse in the words that every wrong token is refused in; raises `Refused`."""
    audit.append(conn, "join-refused", _ANONYMOUS, None, {"name": name, "cause": cause}, now)
    raise Refused(
        ErrorCode.TOKEN_INVALID, 403, "the join token is not valid", "Ask an operator for a new one: `node token`."
    )


def allowed_kind(conn: Connection, rt: Runtime, request: JoinRequest, now: float) -> EnclaveKind:
    """The kind of enclave, if the policy lets it join; an unknown one is refused like one that it does not."""
    if request.enclave_kind in rt.policy.enclaves.allowed:
        _check_said(request)
        return EnclaveKind(request.enclave_kind)
    cause = f"an enclave of kind {request.enclave_kind[:16]!r} is not allowed"
    audit.append(conn, "join-refused", _ANONYMOUS, None, {"name": request.name, "cause": cause}, now)
    raise Refused(
        ErrorCode.ENDORSEMENT_REJECTED,
        403,
        f"this authority takes no node with an enclave of kind {request.enclave_kind[:16]!r}",
        "An operator may allow the kind, capped, in the policy: [enclaves] allowed; docs/trust.md.",
    )


def identified(
    conn: Connection,
    kind: EnclaveKind,
    request: JoinRequest,
    roots: Sequence[x509.Certificate],
    lab_roots: Sequence[x509.Certificate],
    now: float,
) -> tuple[str, bool]:
    """The node's id, and whether only a lab root vouches for it: the hash of the EK, or of the identity key."""
    if kind is EnclaveKind.TPM2:
        identity, lab_only = _endorsed(conn, request, roots, lab_roots, now)
        return identity.node_id, lab_only
    if request.ek_public or request.ek_certificates:
        raise Refused(ErrorCode.MALFORMED, 400, f"an enclave of kind {kind.value} has no endorsement key")
    try:
        return statement_node_id(request.ak_public), False
    except ValueError as error:
        raise Refused(ErrorCode.MALFORMED, 400, f"the identity key is {error}") from None


def check_lab(conn: Connection, request: JoinRequest, token: Row[Any], *, lab_only: bool, now: float) -> None:
    """A node with simulated hardware needs a token for the lab; raises `Refused`."""
    virtual = [device.driver for device in request.devices if device.transport == VIRTUAL]
    if token.lab or not (lab_only or virtual):
        return
    cause = f"virtual devices: {', '.join(virtual)}" if virtual else "a TPM that only a lab root vouches for"
    audit.append(conn, "join-refused", _ANONYMOUS, None, {"name": request.name, "cause": cause}, now)
    raise Refused(
        ErrorCode.VIRTUAL_DEVICE,
        403,
        f"this node has simulated hardware ({cause}), and its token is not one for the lab",
        "Make the token with `node token --lab`; such a node never reaches a production network.",
    )


def check_identity(conn: Connection, request: JoinRequest, node_id: str, token: Row[Any], now: float) -> None:
    """A name never moves to another enclave, of whatever kind, and an enclave never gets a second name.

    Nor does a node come back that is banned or retired, except for one that was retired for its silence.
    """
    named = conn.execute(select(schema.node).where(schema.node.c.name == request.name)).first()
    known = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).first()
    if named is not None and named.id != node_id:
        detail = {"name": request.name, "endorsement": node_id}
        audit.append(conn, "re-registration-refused", _ANONYMOUS, named.id, detail, now)
        what = "TPM" if {request.enclave_kind, named.enclave_kind} == {EnclaveKind.TPM2.value} else "enclave"
        text = f"{request.name}: another {what} tried to join under this name"
        raise_alert(conn, "warning", "re-registration-refused", named.id, text, detail, now)
        raise Refused(
            ErrorCode.NAME_TAKEN,
            409,
            f"this name belongs to another {what}",
            f"Choose another name; a name stays with its {what}.",
        )
    if known is not None and known.enclave_kind != request.enclave_kind:
        raise Refused(ErrorCode.CONFLICT, 409, "this key is registered as an enclave of another kind", "Join as that.")
    if known is not None and known.name != request.name:
        raise Refused(ErrorCode.CONFLICT, 409, "this TPM is registered under another name", "Join under that name.")
    if known is not None:
        _check_in_service(conn, known, token)


def _check_in_service(conn: Connection, known: Row[Any], token: Row[Any]) -> None:
    if known.state == NodeState.RETIRED and stale.went_stale(conn, known.id):
        if not stale.may_return(conn, known, token):
            raise Refused(
                ErrorCode.NODE_BANNED,
                403,
                "this node was retired because nobody had seen it for long, and the token is from before that",
                "Ask an operator for a new one (`node token`), join with it, and enrol everybody anew.",
            )
    elif known.state == NodeState.RETIRED:
        remedy = "It is out of service for good; a name stays with its enclave."
        raise Refused(ErrorCode.NODE_BANNED, 403, "this node is retired", remedy)
    elif known.state == NodeState.BANNED:
        raise Refused(ErrorCode.NODE_BANNED, 403, "this node is banned", "An operator must release it first.")


def check_side(conn: Connection, node_id: str, *, lab: bool) -> None:
    """Lab nodes and others share no network or group, so a node does not change sides while it is in one."""
    node, member = schema.node, schema.member
    moving = select(node.c.id).where((node.c.id == node_id) & (node.c.lab != lab))
    if conn.scalar(moving) is not None and groups.knows(conn, node_id):
        raise Refused(
            ErrorCode.CONFLICT,
            409,
            "this node is in a challenge group, and the token would make it a lab node or end its being one",
            "Take it out of its group first, or make a token of the same kind.",
        )
    if conn.scalar(moving.where(exists().where(member.c.node_id == node_id))) is not None:
        raise Refused(
            ErrorCode.CONFLICT,
            409,
            "this node is a member of networks, and the token would make it a lab node or end its being one",
            "Take it out of its networks first, or make a token of the same kind.",
        )


def _token_flaw(row: Row[Any] | None, name: str, now: float) -> str:
    if row is None:
        return "unknown token"
    if row.used_at is not None:
        return "token used before"
    if row.expires_at <= now:
        return "token expired"
    return "" if row.name == name else "token of another name"


def _check_said(request: JoinRequest) -> None:
    """A node's own list of devices may not call an enclave software that it joins as something better with."""
    software = EnclaveKind.SOFTWARE.value
    enclaves = {device.driver for device in request.devices if device.kind == "enclave"}
    if software in enclaves and request.enclave_kind != software:
        raise Refused(ErrorCode.MALFORMED, 400, f"a {request.enclave_kind} node lists a software enclave as its own")


def _endorsed(
    conn: Connection,
    request: JoinRequest,
    roots: Sequence[x509.Certificate],
    lab_roots: Sequence[x509.Certificate],
    now: float,
) -> tuple[EkIdentity, bool]:
    """The TPM's identity, and whether only a lab root vouches for it."""
    at = dt.datetime.fromtimestamp(now, dt.UTC)
    try:
        return verify_endorsement(request.ek_public, request.ek_certificates, roots, at), False
    except EndorsementRejected as error:
        first = error
    try:
        return verify_endorsement(request.ek_public, request.ek_certificates, lab_roots, at), True
    except EndorsementRejected as second:
        cause = str(second if lab_roots else first)
    audit.append(conn, "join-refused", _ANONYMOUS, None, {"name": request.name, "cause": cause}, now)
    raise Refused(
        ErrorCode.ENDORSEMENT_REJECTED,
        403,
        f"the TPM's endorsement is not accepted: {cause}",
        "Configure the TPM maker's root certificate at the authority ([endorsement] roots).",
    )
