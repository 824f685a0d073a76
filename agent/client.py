"""HTTPS to the authority's node plane: one method per route, every answer decoded, every refusal typed."""

from __future__ import annotations

import ssl
import time
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from agent.errors import AuthorityRefused, AuthorityUnreachable
from agent.log import printable
from protocol.codec import ProtocolViolation, decode
from protocol.mapping import DataPlaneReport, MappingAnswer
from protocol.messages import (
    Activation,
    AttestResult,
    AttestSubmission,
    BeginRequest,
    DeliveryAck,
    DeliveryEvent,
    EnrolFinish,
    EnrolResult,
    EnrolSession,
    EnrolStart,
    ErasedRecord,
    EvidenceSubmission,
    FailureSubmission,
    GroupSubmission,
    IndexRequest,
    JoinChallenge,
    JoinProof,
    JoinRequest,
    JoinResult,
    LogConsistency,
    NextCa,
    Nonce,
    NonceRequest,
    OwnerGrant,
    OwnershipAnswer,
    OwnershipReport,
    RemovalRequest,
    RenewRequest,
    RenewResult,
    ResetGrant,
    ResetRequest,
    Verdict,
)
from protocol.problems import ErrorCode, Problem
from protocol.signals import SignalReceipt, SignalReport

T = TypeVar("T")

LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes; a delivery grows with the number of peers."""


class AuthorityClient:
    """Speaks for one node; threads may share it.

    Every method raises `AuthorityRefused`, `AuthorityUnreachable` or `ProtocolViolation`.
    """

    def __init__(self, authority: str, context: ssl.SSLContext, timeout_s: float, proxy: str | None = None) -> None:
        self._authority = authority.rstrip("/")
        self._timeout_s = timeout_s
        self._http = open_http(context, timeout_s, proxy, base_url=self._authority)

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ca(self) -> str:
        """GET /v1/ca: the CA certificate in PEM."""
        return self._send("GET", "/v1/ca", None).decode("ascii", "replace")

    def next_ca(self) -> NextCa:
        """GET /v1/ca/next; nothing where the authority is of a version that shows none."""
        try:
            return self._call("GET", "/v1/ca/next", None, NextCa)
        except AuthorityRefused as error:
            if error.problem.status != 404:
                raise
            return NextCa(certificate="", voucher="")

    def join(self, request: JoinRequest) -> JoinChallenge:
        """POST /v1/join."""
        return self._call("POST", "/v1/join", request, JoinChallenge)

    def activate(self, join_id: str, proof: JoinProof) -> JoinResult:
        """POST /v1/join/{join_id}/activate."""
        return self._call("POST", f"/v1/join/{_segment(join_id)}/activate", proof, JoinResult)

    def nonce(self, node_id: str) -> Nonce:
        """POST /v1/nonces."""
        return self._call("POST", "/v1/nonces", NonceRequest(node_id=node_id), Nonce)

    def renew(self, request: RenewRequest) -> RenewResult:
        """POST /v1/renew."""
        return self._call("POST", "/v1/renew", request, RenewResult)

    def start_enrolment(self, start: EnrolStart) -> EnrolSession:
        """POST /v1/enrolments."""
        return self._call("POST", "/v1/enrolments", start, EnrolSession)

    def finish_enrolment(self, enrolment_id: str, finish: EnrolFinish) -> EnrolResult:
        """PUT /v1/enrolments/{enrolment_id}."""
        return self._call("PUT", f"/v1/enrolments/{_segment(enrolment_id)}", finish, EnrolResult)

    def ownership_nonce(self) -> bytes:
        """POST /v1/ownership/nonce: what the next report is over."""
        return self._call("POST", "/v1/ownership/nonce", None, Nonce).nonce

    def report_ownership(self, report: OwnershipReport) -> OwnershipAnswer:
        """POST /v1/ownership: whose the TPM is, and what is to be set."""
        return self._call("POST", "/v1/ownership", report, OwnershipAnswer)

    def grant_index(self, enrolment_id: str, request: IndexRequest) -> OwnerGrant:
        """POST /v1/enrolments/{enrolment_id}/index: what lets the TPM define the index of a profile key."""
        return self._call("POST", f"/v1/enrolments/{_segment(enrolment_id)}/index", request, OwnerGrant)

    def grant_removal(self, record_id: str, request: RemovalRequest) -> OwnerGrant:
        """POST /v1/profiles/{record_id}/removal: what lets the TPM remove the index of one that is out of use."""
        return self._call("POST", f"/v1/profiles/{_segment(record_id)}/removal", request, OwnerGrant)

    def reset(self, record_id: str, nonce: bytes) -> ResetGrant:
        """POST /v1/profiles/{record_id}/reset: what lifts the lock of a profile key, once an operator allowed it."""
        return self._call("POST", f"/v1/profiles/{_segment(record_id)}/reset", ResetRequest(nonce=nonce), ResetGrant)

    def erased(self, record_id: str) -> None:
        """POST /v1/profiles/{record_id}/erased: nothing of this record is left at the node."""
        self._send("POST", f"/v1/profiles/{_segment(record_id)}/erased", ErasedRecord(record_id=record_id))

    def begin(self, challenge_id: str, record_id: str, *, screen: bool = False) -> Activation:
        """POST /v1/challenges/{id}/begin; `screen` tells that the node can light a face.

        Without one it asks as it did before there were flashes, so that an older authority understands.
        """
        body = BeginRequest(record_id=record_id, screen=True if screen else msgspec.UNSET)
        return self._call("POST", f"/v1/challenges/{_segment(challenge_id)}/begin", body, Activation)

    def submit_evidence(self, challenge_id: str, evidence: EvidenceSubmission) -> Verdict:
        """POST /v1/challenges/{id}/evidence; sending the same evidence again gives the same verdict."""
        return self._call("POST", f"/v1/challenges/{_segment(challenge_id)}/evidence", evidence, Verdict)

    def submit_failure(self, challenge_id: str, failure: FailureSubmission) -> Verdict:
        """POST /v1/challenges/{id}/failure."""
        return self._call("POST", f"/v1/challenges/{_segment(challenge_id)}/failure", failure, Verdict)

    def attest(self, submission: AttestSubmission) -> AttestResult:
        """POST /v1/attest."""
        return self._call("POST", "/v1/attest", submission, AttestResult)

    def signal(self, report: SignalReport) -> SignalReceipt:
        """POST /v1/signals; sending the same report again changes nothing."""
        return self._call("POST", "/v1/signals", report, SignalReceipt)

    def submit_group(self, challenge_id: str, submission: GroupSubmission) -> Verdict:
        """POST /v1/challenges/{id}/group; sending the same quote again gives the same verdict."""
        return self._call("POST", f"/v1/challenges/{_segment(challenge_id)}/group", submission, Verdict)

    def check_in(self) -> None:
        """POST /v1/checkin: ask for a summons; the authority pushes it to the agent."""
        self._send("POST", "/v1/checkin", None)

    def acknowledge(self, number: int, ack: DeliveryAck) -> None:
        """POST /v1/deliveries/{number}/ack."""
        self._send("POST", f"/v1/deliveries/{number}/ack", ack)

    def deliveries(self, after: int) -> list[DeliveryEvent]:
        """GET /v1/deliveries?after=N."""
        return self._call("GET", f"/v1/deliveries?after={after}", None, list[DeliveryEvent])

    def report_data_plane(self, report: DataPlaneReport) -> None:
        """PUT /v1/data-plane: what the peers' data planes need to know of this node."""
        self._send("PUT", "/v1/data-plane", report)

    def look_up(self, network: str, address: str) -> MappingAnswer:
        """GET /v1/mapping/{network}/{address}: who is there, of the peers that this node may associate with."""
        path = f"/v1/mapping/{quote(network, safe='')}/{quote(address, safe='')}"
        return self._call("GET", path, None, MappingAnswer)

    def consistency(self, first: int, second: int) -> LogConsistency:
        """GET /v1/log/consistency?from=N&to=M."""
        return self._call("GET", f"/v1/log/consistency?from={first}&to={second}", None, LogConsistency)

    def _call(self, method: str, path: str, body: object | None, kind: type[T]) -> T:
        return decode(self._send(method, path, body), kind)

    def _send(self, method: str, path: str, body: object | None) -> bytes:
        content = None if body is None else msgspec.json.encode(body)
        # An answer that is compressed could grow without bound before it is counted.
        headers = {"accept-encoding": "identity"} | ({} if body is None else {"content-type": "application/json"})
        try:
            with self._http.stream(method, path, content=content, headers=headers) as response:
                data = _read(response, self._timeout_s)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise unreachable(self._authority, error) from None
        except httpx.HTTPError as error:
            raise unreachable(self._authority, error, sent=True) from None
        if response.status_code // 100 != 2:
            raise AuthorityRefused(_problem(response.status_code, data))
        return data


def open_http(context: ssl.SSLContext, timeout_s: float, proxy: str | None, *, base_url: str = "") -> httpx.Client:
    """What nodes send requests with: through a tunnel of `proxy` (RFC 9110 §9.3.6) where one is named.

    TLS is with the authority itself either way, and nothing of the environment counts.
    """
    return httpx.Client(
        base_url=base_url, verify=context, timeout=timeout_s, proxy=proxy, trust_env=False, follow_redirects=False
    )


def unreachable(authority: str, error: BaseException, *, sent: bool = False) -> AuthorityUnreachable:
    """What a transport error towards `authority` means for the person at the machine."""
    cause = error.__cause__ or error
    text = printable(cause) or type(error).__name__
    remedy = None
    if isinstance(error, httpx.ProxyError):
        text = f"the proxy opened no tunnel: {text}"
        remedy = "Let the proxy of connection.proxy CONNECT to the authority's host and port."
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
        remedy = "This is not the authority that the node joined, or node.authority names a host its certificate lacks."
    return AuthorityUnreachable(f"the authority {authority} did not answer: {text}", remedy=remedy, sent=sent)


def _read(response: httpx.Response, seconds: float) -> bytes:
    """The body as it was sent; the time limit of `httpx` starts anew with every byte, this one does not."""
    data, give_up = bytearray(), time.monotonic() + seconds
    for chunk in response.iter_raw():
        data += chunk
        if time.monotonic() > give_up:
            raise httpx.ReadTimeout(f"the answer took longer than {seconds:g} s")
        if len(data) > LARGEST_ANSWER:
            raise ProtocolViolation(f"the authority's answer is larger than {LARGEST_ANSWER} bytes")
    return bytes(data)


def _problem(status: int, data: bytes) -> Problem:
    """The problem document, its texts made safe to show; any other refusal becomes one."""
    try:
        problem = decode(data, Problem)
    except ProtocolViolation:
        code = ErrorCode.UNAVAILABLE if status >= 500 else ErrorCode.MALFORMED
        return Problem(title=f"the authority answered with status {status}", status=status, code=code)
    return msgspec.structs.replace(
        problem, title=printable(problem.title), detail=printable(problem.detail), remedy=printable(problem.remedy)
    )


def _segment(text: str) -> str:
    """An identifier from the authority that goes into a path; raises `ProtocolViolation` unless it is plain."""
    if not text.isascii() or not text.replace("-", "").replace("_", "").isalnum():
        raise ProtocolViolation("an identifier of the authority has foreign characters")
    return text
