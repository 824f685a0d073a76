"""The authority as this node sees it: reachable, trusted, clocks agreeing; and the node's certificate."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

from agent.client import open_http, unreachable
from agent.config import Config
from agent.diagnostics.findings import Finding, Severity, failed
from agent.errors import AgentError, NotJoined
from agent.identity import Certificate, Identity, IdentityStore, unverified_context
from agent.state import StateDirectory
from hal import Deadline

SUBJECT = "authority"
AUTHORITY_S = 20.0
_LARGEST_ANSWER = 64 * 1024
_SKEW_NOTICE_S, _SKEW_LIMIT_S = 2.0, 30.0
_DATE_RESOLUTION_S = 1.0
"""The Date header counts whole seconds (RFC 9110, 6.6.1)."""


@dataclass(frozen=True)
class Answer:
    """The authority's answer: `skew_s` is its clock minus ours, `None` without a Date; `seconds` the round trip."""

    seconds: float
    skew_s: float | None


def examine(config: Config, deadline: Deadline, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Everything about the authority and this node's standing with it."""
    store = IdentityStore(StateDirectory(config.state_dir))
    try:
        identity = store.load()
        context = store.tls_context(identity)
        yield judge_certificate(store.certificate(identity), now())
        yield from _judge_address(config, identity)
    except NotJoined as error:
        yield Finding("authority.joined", Severity.WARNING, str(error), error.remedy, SUBJECT)
        context = unverified_context()
        identity = None
    except AgentError as error:
        yield failed("authority.identity", error, SUBJECT)
        return
    yield from _judge_contact(config, context, deadline, now, trusted=identity is not None)


def judge_certificate(certificate: Certificate, now: float) -> Finding:
    """Age and end of the node's client certificate; the daemon renews it at two thirds of its life."""
    life, left = certificate.not_after - certificate.not_before, certificate.not_after - now
    facts = {"not_after": round(certificate.not_after), "age_s": round(now - certificate.not_before)}
    if certificate.not_before > now:
        what, remedy = "the node's certificate is not valid yet", "Set the clock of this machine."
        return Finding("authority.certificate", Severity.ERROR, what, remedy, SUBJECT, facts)
    if left <= 0:
        what = f"the node's certificate expired {_span(-left)} ago"
        remedy = "Start the agent (`keyvigil agent run`): it renews the certificate by a quote."
        return Finding("authority.certificate", Severity.ERROR, what, remedy, SUBJECT, facts)
    what = f"the node's certificate is {_span(now - certificate.not_before)} old and valid for {_span(left)}"
    if left < life / 4:
        remedy = "See that the agent runs and reaches the authority: it should have renewed the certificate by now."
        return Finding("authority.certificate", Severity.WARNING, what, remedy, SUBJECT, facts)
    return Finding("authority.certificate", Severity.OK, what, subject=SUBJECT, facts=facts)


def judge_answer(answer: Answer, *, trusted: bool) -> Iterator[Finding]:
    """What an answer tells: trust, delay, and the difference of the clocks."""
    facts = {"seconds": round(answer.seconds, 3)}
    if trusted:
        what = f"the authority answers under the CA that was pinned at joining, in {answer.seconds * 1000:.0f} ms"
        yield Finding("authority.reachable", Severity.OK, what, subject=SUBJECT, facts=facts)
    else:
        what = (
            f"something answers at node.authority in {answer.seconds * 1000:.0f} ms; whether to trust it, joining tells"
        )
        yield Finding("authority.reachable", Severity.INFO, what, subject=SUBJECT, facts=facts)
    if answer.skew_s is not None:
        yield judge_skew(answer.skew_s)


def judge_skew(skew_s: float) -> Finding:
    """Whether both clocks agree, as far as whole seconds tell."""
    facts = {"skew_s": round(skew_s, 1)}
    behind = "behind" if skew_s > 0 else "ahead of"
    what = f"this machine's clock is {abs(skew_s):.0f} s {behind} the authority's"
    remedy = "Set this machine's clock by a time service: sudo apt-get install chrony; else see to the authority's."
    if abs(skew_s) > _SKEW_LIMIT_S:
        return Finding("authority.clock", Severity.ERROR, what, remedy, SUBJECT, facts)
    if abs(skew_s) > _SKEW_NOTICE_S:
        return Finding("authority.clock", Severity.WARNING, what, remedy, SUBJECT, facts)
    return Finding("authority.clock", Severity.OK, "this machine's clock agrees with the authority's", subject=SUBJECT)


def _judge_address(config: Config, identity: Identity) -> Iterator[Finding]:
    if config.node.authority.rstrip("/") != identity.authority.rstrip("/"):
        what = f"node.authority is {config.node.authority}, but the node joined {identity.authority}"
        remedy = "Correct node.authority, or join again with --rejoin."
        yield Finding("authority.address", Severity.ERROR, what, remedy, SUBJECT)
    if config.node.name != identity.name:
        what = f"node.name is {config.node.name}, but the node joined as {identity.name}"
        yield Finding("authority.name", Severity.ERROR, what, "Correct node.name, or join again.", SUBJECT)


def _judge_contact(
    config: Config, context: ssl.SSLContext, deadline: Deadline, now: Callable[[], float], *, trusted: bool
) -> Iterator[Finding]:
    try:
        seconds = min(deadline.remaining(), config.connection.timeout_s)
        answer = ask(config.node.authority, context, seconds, now, config.connection.proxy)
    except AgentError as error:
        yield failed("authority.reachable", error, SUBJECT)
    else:
        yield from judge_answer(answer, trusted=trusted)


def ask(
    authority: str, context: ssl.SSLContext, seconds: float, now: Callable[[], float], proxy: str | None = None
) -> Answer:
    """GET the authority's CA; raises `AuthorityUnreachable` within `seconds`, whatever the other side does."""
    give_up, begun = time.monotonic() + seconds, time.monotonic()
    headers = {"accept-encoding": "identity"}
    try:
        with (
            open_http(context, seconds, proxy) as http,
            http.stream("GET", f"{authority.rstrip('/')}/v1/ca", headers=headers) as response,
        ):
            took, told_at = time.monotonic() - begun, now()
            have = 0
            for chunk in response.iter_raw():
                have += len(chunk)
                if time.monotonic() > give_up or have > _LARGEST_ANSWER:
                    raise httpx.ReadTimeout("the answer did not end")
            if response.status_code != httpx.codes.OK:
                raise httpx.RemoteProtocolError(f"status {response.status_code} instead of the CA certificate")
    except httpx.HTTPError as error:
        raise unreachable(authority, error) from None
    return Answer(took, _skew(response.headers.get("date", ""), told_at, took))


def _skew(date: str, told_at: float, took: float) -> float | None:
    """The authority's clock minus ours; what whole seconds and the round trip cannot tell apart counts as none."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    low, high = theirs - told_at, theirs + _DATE_RESOLUTION_S - (told_at - took)
    return low if low > 0 else high if high < 0 else 0.0


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
