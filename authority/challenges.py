"""Challenges as nodes answer them: begun, answered with evidence or a failure report, decided once."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from msgspec import UNSET, UnsetType
from sqlalchemy import Connection, Row, select, update

from authority import (
    approvals,
    audit,
    checkpoints,
    consent,
    ear,
    groups,
    profiles,
    releases,
    results,
    scheduler,
    standing,
)
from authority.alerts import raise_alert
from authority.appraisal import Presented, appraise
from authority.attesting import ClockWentBack, RegistrationUnreadable, StateChanged, check_quote
from authority.drawing import draw_digits, draw_flashes, draw_gestures
from authority.joining import take_nonce
from authority.keys import KekError, acknowledged
from authority.keys.sealing import DeliveryKeyUnusable
from authority.measurements import check_measurements
from authority.refusal import Refused
from authority.runtime import Push, Runtime
from authority.scheduler import ATTEST_PURPOSE
from authority.store import schema
from authority.tpm import TpmRejected
from authority.trust import ChallengeState, PresentationKind
from authority.trust.calendar import is_on_duty
from authority.verdict import Accepted, Appraisal, Rejected, Undecided
from protocol.codec import decode, encode, length_prefixed
from protocol.digests import attest_digest, failure_digest
from protocol.levels import NodeState, Tier
from protocol.messages import (
    Activation,
    AttestResult,
    AttestSubmission,
    BeginRequest,
    DeliveryAck,
    DeliveryEvent,
    Event,
    EvidenceSubmission,
    FailureSubmission,
    Outcome,
    StateApproval,
    Verdict,
)
from protocol.problems import ErrorCode
from protocol.release import challenge_release_info

_NEXT = "Wait for the next one."
_REFUSED_TEXT = "evidence refused"
_FAILURE_TEXT = "presentation failed"
_UNDECIDED_TEXT = "the authority could not decide, through a fault of its own"
_LARGEST = 2**63 - 1
"""Largest integer that the database takes."""


def begin(
    conn: Connection, rt: Runtime, node_id: str, challenge_id: str, request: BeginRequest, now: float
) -> Activation:
    """Activate a summons for one record: nonce, digits, gestures, release share; the deadline runs from here."""
    row = _challenge(conn, node_id, challenge_id)
    if row.state != ChallengeState.SUMMONED or row.expires_at <= now:
        raise Refused(ErrorCode.CHALLENGE_CLOSED, 409, "this summons is over", _NEXT)
    profile = _answering_profile(conn, rt, node_id, request.record_id, now)
    releases.check_rate(conn, rt, profile, now)
    nonce = rt.random(32)
    node = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one()
    share, approval = _secrets(conn, rt, row, node, profile, nonce, now)
    deadline = now + rt.policy.challenge.activation_s
    values = {"state": ChallengeState.ACTIVATED.value, "record_id": profile.record_id, "nonce": nonce}
    mine = schema.challenge.c.id == challenge_id
    conn.execute(update(schema.challenge).where(mine).values(**values, activated_at=now, deadline_at=deadline))
    audit.append(conn, "activated", node_id, node_id, {"challenge": challenge_id, "record": profile.record_id}, now)
    return Activation(
        challenge_id=challenge_id,
        record_id=profile.record_id,
        nonce=nonce,
        digits=draw_digits(rt),
        gestures=draw_gestures(rt),
        sealed_share=share,
        deadline_s=rt.policy.challenge.activation_s,
        pcr_selection=[*rt.policy.attestation.pcr_selection],
        approval=approval,
        opening_s=consent.opening_s(rt.policy, profile),
        flashes=draw_flashes(rt) if request.screen is True else UNSET,
    )


def submit_evidence(
    conn: Connection,
    rt: Runtime,
    node_id: str,
    certificate_sha256: str,
    challenge_id: str,
    evidence: EvidenceSubmission,
    now: float,
) -> tuple[Verdict, list[Push]]:
    """Decide a challenge by evidence. The same evidence again gives the same verdict; other evidence is refused."""
    digest = _fingerprint("evidence", evidence)
    row = _challenge(conn, node_id, challenge_id)
    decided = _decided_before(conn, row, digest, now)
    if decided is not None:
        return decided, []
    presented = _presented(conn, row, certificate_sha256, now)
    found = appraise(conn, rt, presented, evidence, now)
    if isinstance(found, Accepted):
        releases.settle(conn, presented.profile, evidence.share, node_id, now)
    return _decide(conn, rt, presented, found, digest, now, evidence.token)


def report_failure(
    conn: Connection, rt: Runtime, node_id: str, challenge_id: str, report: FailureSubmission, now: float
) -> tuple[Verdict, list[Push]]:
    """Enter the node's own word that the presentation failed; it says nothing about what failed."""
    digest = _fingerprint("failure", report)
    row = _challenge(conn, node_id, challenge_id)
    decided = _decided_before(conn, row, digest, now)
    if decided is not None:
        return decided, []
    presented = _presented(conn, row, "", now)
    digest_quoted = failure_digest(challenge_id, presented.profile.record_id, row.nonce)
    found = Rejected(_FAILURE_TEXT)
    try:
        check_quote(conn, rt, presented.node, report.quote, digest_quoted, now)
    except (TpmRejected, StateChanged, ClockWentBack) as error:
        found = Rejected(f"{_FAILURE_TEXT}, and {error}", machine=True)
    except RegistrationUnreadable as error:
        found = Rejected(f"{_FAILURE_TEXT}, and {error}")
    return _decide(conn, rt, presented, found, digest, now)


def attest(
    conn: Connection, rt: Runtime, node_id: str, submission: AttestSubmission, now: float
) -> tuple[AttestResult, list[Push]]:
    """Machine attestation: it keeps or lowers trust."""
    if not take_nonce(conn, submission.nonce, node_id, ATTEST_PURPOSE, now):
        audit.append(conn, "attestation-refused", node_id, node_id, {"cause": "stale nonce"}, now)
        raise Refused(ErrorCode.NONCE_EXPIRED, 409, "this attestation request is over", _NEXT)
    node = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one()
    try:
        log = None if isinstance(submission.event_log, UnsetType) else submission.event_log
        digest = attest_digest(node_id, submission.nonce)
        check_quote(conn, rt, node, submission.quote, digest, now, log)
        nv = None if isinstance(submission.nv, UnsetType) else submission.nv
        check_measurements(conn, node, nv, digest, now, required=rt.policy.attestation.require_nv, counted=False)
    except RegistrationUnreadable as error:
        _tell_fault(conn, node_id, str(error), {}, now)
        return AttestResult(outcome=Outcome.UNDECIDED, reason=_UNDECIDED_TEXT), []
    except (TpmRejected, StateChanged, ClockWentBack) as error:
        result = standing.record_attestation(conn, rt, node_id, ok=False, reason=str(error), now=now)
        return AttestResult(outcome=Outcome.REJECTED, reason="attestation refused"), result.pushes
    result = standing.record_attestation(conn, rt, node_id, ok=True, reason="", now=now)
    return AttestResult(outcome=Outcome.ACCEPTED, reason=""), result.pushes


def acknowledge(conn: Connection, rt: Runtime, node_id: str, number: int, ack: DeliveryAck, now: float) -> list[Push]:
    """Note what a node's sinks made of a delivery, and what that lets follow.

    One that could not be installed is pushed again later.
    """
    row = schema.delivery
    mine = (row.c.node_id == node_id) & (row.c.number == number)
    known = conn.execute(select(row.c.ack, row.c.network).where(mine)).first() if 0 < number <= _LARGEST else None
    if known is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"there is no delivery {number} for this node")
    said = encode(ack).decode()
    if known.ack == said:
        return []
    conn.execute(update(row).where(mine).values(acked_at=now if ack.installed else None, ack=said))
    if not ack.installed:
        detail = {"number": number, "error": ack.error[:200]}
        raise_alert(
            conn, "warning", "delivery-failed", node_id, f"delivery {number} could not be installed", detail, now
        )
        return []
    return acknowledged(conn, rt, known.network, node_id, number, now, lost=ack.lost)


def waited_for(conn: Connection, node_id: str, number: int, now: float) -> float | None:
    """Seconds since a delivery that the node has not installed yet was made; none for every other."""
    row = schema.delivery
    mine = (row.c.node_id == node_id) & (row.c.number == number) & row.c.acked_at.is_(None)
    issued_at = conn.scalar(select(row.c.issued_at).where(mine)) if 0 < number <= _LARGEST else None
    return None if issued_at is None else now - issued_at


def deliveries_after(conn: Connection, node_id: str, after: int) -> list[DeliveryEvent]:
    """The newest delivery of each network, if its number is above `after`."""
    row, above = schema.delivery, min(max(after, 0), _LARGEST)
    query = select(row).where((row.c.node_id == node_id) & (row.c.number > above)).order_by(row.c.number)
    newest = {each.network: each for each in conn.execute(query)}
    found = sorted(newest.values(), key=lambda each: each.number)
    return [DeliveryEvent(number=each.number, envelope=each.envelope) for each in found]


def open_events(conn: Connection, rt: Runtime, node_id: str, now: float) -> list[Event]:
    """What a node is told when it connects: the log, its standing, an open summons, deliveries not yet installed."""
    row = schema.delivery
    waiting = select(row.c.number).where((row.c.node_id == node_id) & row.c.acked_at.is_(None))
    numbers = {*conn.scalars(waiting)}
    pending = [event for event in deliveries_after(conn, node_id, 0) if event.number in numbers] if numbers else []
    shared = groups.open_summons(conn, rt, node_id, now)
    summons = [event for _, event in scheduler.open_summons(conn, rt, node_id, now)]
    told: list[Event] = [
        *checkpoints.current(conn, rt),
        standing.status(conn, node_id),
        *profiles.orders(conn, node_id),
    ]
    return [*told, *summons, *shared, *pending]


def _challenge(conn: Connection, node_id: str, challenge_id: str) -> Row[Any]:
    """The node's own challenge; another node's does not exist for it."""
    own = (schema.challenge.c.node_id == node_id) & (schema.challenge.c.reason != groups.GROUP)
    mine = (schema.challenge.c.id == challenge_id) & own
    row = conn.execute(select(schema.challenge).where(mine)).first()
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such challenge for this node", _NEXT)
    return row


def _presented(conn: Connection, row: Row[Any], certificate_sha256: str, now: float) -> Presented:
    profile = conn.execute(profiles.counted().where(schema.profile.c.record_id == row.record_id)).one()
    node = conn.execute(select(schema.node).where(schema.node.c.id == row.node_id)).one()
    return Presented(node, row, profile, certificate_sha256, now - row.activated_at)


def _secrets(
    conn: Connection, rt: Runtime, row: Row[Any], node: Row[Any], profile: Row[Any], nonce: bytes, now: float
) -> tuple[bytes, StateApproval | UnsetType]:
    """The profile's release shares and the approval of the machine's state.

    Without them nobody can answer, and the summons is not counted as missed.
    """
    info = challenge_release_info(row.node_id, profile.record_id, row.id, nonce)
    try:
        approval = approvals.approval(conn, rt, node)
        return releases.hand_out(conn, rt, node, profile, info), approval
    except (KekError, DeliveryKeyUnusable, RegistrationUnreadable) as error:
        scheduler.close_undecided(conn, row.node_id, row.id, str(error), now)
        _tell_fault(conn, row.node_id, str(error), {"record": profile.record_id}, now)
        raise Refused(ErrorCode.UNAVAILABLE, 503, _UNDECIDED_TEXT, "Tell the operator.") from None


def _tell_fault(conn: Connection, node_id: str, cause: str, detail: dict[str, Any], now: float) -> None:
    raise_alert(conn, "error", "authority-fault", node_id, cause, detail, now)


def _answering_profile(conn: Connection, rt: Runtime, node_id: str, record_id: str, now: float) -> Row[Any]:
    row, admin = schema.profile, schema.administrator
    mine = (row.c.record_id == record_id) & (row.c.node_id == node_id) & (row.c.state == profiles.ACTIVE)
    query = select(row).join(admin, admin.c.name == row.c.admin).where(mine & admin.c.revoked_at.is_(None))
    found = conn.execute(query).first()
    if found is None:
        detail = {"record": record_id[:32], "cause": "no such profile"}
        audit.append(conn, "begin-refused", node_id, node_id, detail, now)
        raise Refused(ErrorCode.PROFILE_UNKNOWN, 404, "there is no such active profile at this node", "Enrol first.")
    if found.locked_until is not None and found.locked_until > now:
        audit.append(conn, "begin-refused", node_id, node_id, {"record": record_id, "cause": "locked"}, now)
        raise Refused(
            ErrorCode.TOO_MANY_TRIES, 403, "this profile is locked after too many failures", "Wait, or ask an operator."
        )
    if not is_on_duty(rt.policy.attended, rt.policy.roster.get(found.admin), now):
        audit.append(conn, "begin-refused", node_id, node_id, {"record": record_id, "cause": "off duty"}, now)
        raise Refused(ErrorCode.FORBIDDEN, 403, "this administrator is not on duty now", "Call somebody who is.")
    return found


def _decided_before(conn: Connection, row: Row[Any], digest: str, now: float) -> Verdict | None:
    """The verdict on exactly this evidence, if there is one; raises `Refused` when no answer is due any more."""
    if row.evidence_sha256 == digest and row.verdict is not None:
        return decode(row.verdict, Verdict)
    if row.evidence_sha256 is not None:
        audit.append(conn, "replay-refused", row.node_id, row.node_id, {"challenge": row.id}, now)
        raise Refused(ErrorCode.REPLAYED, 409, "this challenge was answered with other evidence", _NEXT)
    expired = row.deadline_at is not None and row.deadline_at <= now
    if row.state == ChallengeState.ACTIVATED and not expired:
        return None
    state = "expired" if expired else row.state
    audit.append(conn, "late-evidence", row.node_id, row.node_id, {"challenge": row.id, "state": state}, now)
    if expired:
        raise Refused(ErrorCode.NONCE_EXPIRED, 409, "the deadline of this challenge has passed", _NEXT)
    raise Refused(ErrorCode.CHALLENGE_CLOSED, 409, "this challenge takes no answer", _NEXT)


def _decide(
    conn: Connection, rt: Runtime, presented: Presented, found: Appraisal, digest: str, now: float, token: str = ""
) -> tuple[Verdict, list[Push]]:
    node_id, challenge_id = presented.node.id, presented.challenge.id
    match found:
        case Accepted():
            _close(conn, challenge_id, ChallengeState.ACCEPTED, now)
            _count_success(conn, presented, found.counter)
            result = standing.record_presentation(
                conn,
                rt,
                node_id,
                challenge_id,
                PresentationKind.ACCEPTED,
                found.speed,
                found.quality,
                now,
                weak=found.weak,
                basis=found.basis,
                note=found.note,
            )
            shared = groups.fan_out(conn, rt, node_id, token, found, now)
            explanation = f"{result.explanation}; {found.note}" if found.note else result.explanation
            result = replace(result, pushes=result.pushes + shared, explanation=explanation)
            outcome, reason, claim = Outcome.ACCEPTED, "", ear.RECOGNISED
        case Rejected():
            _close(conn, challenge_id, ChallengeState.FAILED, now)
            result = _reject(conn, rt, presented, found, now)
            claim = ear.UNRECOGNISED if found.understood else ear.NOT_UNDERSTOOD
            outcome, reason = Outcome.REJECTED, _REFUSED_TEXT
        case Undecided():
            scheduler.close_undecided(conn, node_id, challenge_id, found.reason, now)
            _tell_fault(conn, node_id, found.reason, {"challenge": challenge_id}, now)
            result = _unchanged(conn, node_id)
            outcome, reason, claim = Outcome.UNDECIDED, _UNDECIDED_TEXT, ear.MALFUNCTION
    mine = schema.challenge.c.id == challenge_id
    conn.execute(update(schema.challenge).where(mine).values(claim=claim))
    verdict = Verdict(
        challenge_id=challenge_id,
        outcome=outcome,
        reason=reason,
        score=result.score,
        tier=result.tier,
        explanation=result.explanation,
        ear=ear.signed(conn, rt, node_id, now),
    )
    values = {"verdict": encode(verdict).decode(), "evidence_sha256": digest}
    conn.execute(update(schema.challenge).where(mine).values(**values))
    results.publish(conn, rt, node_id, results.Cause.VERDICT, now, verdict.ear)
    return verdict, result.pushes


def _unchanged(conn: Connection, node_id: str) -> standing.Standing:
    """The node's standing as it is."""
    row = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one()
    return standing.Standing(row.score, Tier(row.tier), row.explanation, NodeState(row.state), [])


def _close(conn: Connection, challenge_id: str, state: ChallengeState, now: float) -> None:
    mine = schema.challenge.c.id == challenge_id
    conn.execute(update(schema.challenge).where(mine).values(state=state.value, answered_at=now))


def _reject(conn: Connection, rt: Runtime, presented: Presented, found: Rejected, now: float) -> standing.Standing:
    """Audit, alert and count; first what follows for the machine itself, then the failed presentation."""
    node_id, challenge_id = presented.node.id, presented.challenge.id
    detail = {"challenge": challenge_id, "reason": found.reason}
    audit.append(conn, "rejected", "authority", node_id, detail, now)
    if found.reason != _FAILURE_TEXT:
        text = f"{presented.node.name}: evidence refused: {found.reason}"
        raise_alert(conn, "error", "evidence-refused", node_id, text, detail, now)
    profiles.count_failure(conn, rt, presented.profile.record_id, now)
    pushes: list[Push] = []
    if found.machine:
        pushes = standing.record_attestation(conn, rt, node_id, ok=False, reason=found.reason, now=now).pushes
    failed = PresentationKind.FAILED
    result = standing.record_presentation(conn, rt, node_id, challenge_id, failed, None, None, now)
    return replace(result, pushes=pushes + result.pushes)


def _count_success(conn: Connection, presented: Presented, counter: int) -> None:
    row, profile = schema.profile, presented.profile
    everywhere = (row.c.node_id == profile.node_id) & (row.c.admin == profile.admin)
    conn.execute(update(row).where(everywhere).values(failures_in_row=0))
    conn.execute(update(row).where(row.c.record_id == profile.record_id).values(counter=counter))


def _fingerprint(kind: str, submission: EvidenceSubmission | FailureSubmission) -> str:
    """Of the whole of it: what is not in here could be exchanged under a verdict that stands."""
    return hashlib.sha256(length_prefixed(kind, encode(submission))).hexdigest()
