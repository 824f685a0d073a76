"""Challenge groups: racks without sensors share the presentations at one node that has some.

Whoever presents themselves at the sensor node proves nothing of the other machines; so each member quotes, under a
nonce of its own, over the digest of exactly that evidence, and the policy caps what that is worth (`groups.cap`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, insert, select, update

from authority import audit, standing
from authority.attesting import ClockWentBack, RegistrationUnreadable, StateChanged, check_quote
from authority.refusal import Refused
from authority.runtime import Push, Refusal, Runtime
from authority.store import schema
from authority.tpm import TpmRejected
from authority.trust import OPEN_CHALLENGES, ChallengeState, PresentationKind
from authority.verdict import Accepted, Basis
from protocol.codec import decode, encode, length_prefixed
from protocol.digests import group_digest
from protocol.levels import EnclaveKind, NodeState, Tier
from protocol.messages import GroupSubmission, GroupSummons, Outcome, Verdict
from protocol.problems import ErrorCode

GROUP = "group"
"""`challenge.reason` of a member's challenge."""
_OUT = (NodeState.BANNED.value, NodeState.RETIRED.value)


def create(conn: Connection, name: str, sensor_node: str, actor: str, now: float) -> None:
    """A group whose people present themselves at `sensor_node`; raises `Refusal`."""
    row = schema.challenge_group
    if conn.execute(select(row).where(row.c.name == name)).first() is not None:
        raise Refusal(f"there is a group {name!r} already", "Choose another name.")
    _refuse_member(conn, sensor_node)
    conn.execute(insert(row).values(name=name, sensor_node_id=sensor_node, created_at=now))
    audit.append(conn, "group", actor, sensor_node, {"group": name}, now)


def add(conn: Connection, name: str, node_id: str, actor: str, now: float) -> None:
    """Let a node share the group's presentations; raises `Refused`."""
    group = _group(conn, name)
    row = schema.challenge_group
    if conn.execute(select(row).where(row.c.sensor_node_id == node_id)).first() is not None:
        raise Refusal("a sensor node shares nobody's presentations", "Choose a node without a group of its own.")
    _refuse_member(conn, node_id)
    _refuse_better(conn, group.sensor_node_id, node_id)
    conn.execute(insert(schema.group_member).values(node_id=node_id, group=group.name))
    audit.append(conn, "group-member", actor, node_id, {"group": name}, now)


def remove(conn: Connection, name: str, node_id: str, actor: str, now: float) -> None:
    """Take a node out of the group; it keeps what it has, is asked nothing more and grows stale. Raises `Refused`."""
    row = schema.group_member
    gone = conn.execute(delete(row).where((row.c.node_id == node_id) & (row.c.group == _group(conn, name).name)))
    if gone.rowcount == 0:
        raise Refused(ErrorCode.NOT_FOUND, 404, "the node is not in this group", "List groups with `group list`.")
    _withdraw(conn, node_id)
    audit.append(conn, "group-member-removed", actor, node_id, {"group": name}, now)


def listing(conn: Connection) -> list[dict[str, Any]]:
    """Every group with its sensor node and members, by name."""
    names = dict(conn.execute(select(schema.node.c.id, schema.node.c.name)).all())
    member = schema.group_member
    found = conn.execute(select(schema.challenge_group).order_by(schema.challenge_group.c.name)).all()
    return [
        {
            "name": each.name,
            "sensor_node": names[each.sensor_node_id],
            "members": sorted(
                names[node] for node in conn.scalars(select(member.c.node_id).where(member.c.group == each.name))
            ),
        }
        for each in found
    ]


def knows(conn: Connection, node_id: str) -> bool:
    """Whether the node is a member of a group, or the sensor node of one."""
    member, group = schema.group_member, schema.challenge_group
    found = select(member.c.node_id).where(member.c.node_id == node_id)
    return conn.scalar(found.union(select(group.c.sensor_node_id).where(group.c.sensor_node_id == node_id))) is not None


def fan_out(conn: Connection, rt: Runtime, sensor_node: str, token: str, found: Accepted, now: float) -> list[Push]:
    """After evidence was accepted at a sensor node: every member it may vouch for is asked for its quote over it.

    What the two nodes are is asked anew each time: either may have joined again, or lost its standing, since the
    operator put them together.
    """
    sensor = conn.execute(select(schema.node).where(schema.node.c.id == sensor_node)).one()
    members = _free_members(conn, sensor_node)
    objections = {member.id: _low(sensor) or _objection(sensor, member) for member in members}
    for node_id, cause in objections.items():
        if cause:
            audit.append(conn, "group-not-shared", "authority", node_id, {"sensor": sensor_node, "cause": cause}, now)
    digest = hashlib.sha256(token.encode()).hexdigest()
    shared: dict[str, Any] = {"evidence": digest, "speed": found.speed, "quality": found.quality, "weak": found.weak}
    shared |= {"models": found.basis.models, "modalities": found.basis.modalities, "elapsed_s": found.basis.elapsed_s}
    return [_ask(conn, rt, node_id, shared, now) for node_id, cause in objections.items() if not cause]


def open_summons(conn: Connection, rt: Runtime, node_id: str, now: float) -> list[GroupSummons]:
    """What a member that has just connected is still to quote over."""
    row = schema.challenge
    mine = (row.c.node_id == node_id) & (row.c.reason == GROUP) & (row.c.state == ChallengeState.ACTIVATED)
    return [_summons(rt, each) for each in conn.execute(select(row).where(mine & (row.c.deadline_at > now)))]


def answer(
    conn: Connection, rt: Runtime, node_id: str, challenge_id: str, submission: GroupSubmission, now: float
) -> tuple[Verdict, list[Push]]:
    """Decide a member's challenge by its quote; the same quote again gives the same verdict. Raises `Refused`."""
    challenge = schema.challenge
    mine = (challenge.c.id == challenge_id) & (challenge.c.node_id == node_id) & (challenge.c.reason == GROUP)
    row = conn.execute(select(challenge).where(mine)).first()
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, "there is no such challenge for this node")
    digest = hashlib.sha256(length_prefixed(GROUP, encode(submission.quote))).hexdigest()
    if row.verdict is not None and row.evidence_sha256 == digest:
        return decode(row.verdict, Verdict), []
    if row.state != ChallengeState.ACTIVATED or row.deadline_at <= now:
        audit.append(conn, "late-evidence", node_id, node_id, {"challenge": challenge_id, "state": row.state}, now)
        raise Refused(ErrorCode.CHALLENGE_CLOSED, 409, "this challenge takes no answer")
    outcome, result = _decided(conn, rt, row, submission, now)
    verdict = Verdict(
        challenge_id=challenge_id,
        outcome=outcome,
        reason="" if outcome is Outcome.ACCEPTED else "quote refused",
        score=result.score,
        tier=result.tier,
        explanation=result.explanation,
    )
    values = {"verdict": encode(verdict).decode(), "evidence_sha256": digest}
    conn.execute(update(challenge).where(mine).values(**values))
    return verdict, result.pushes


def _decided(
    conn: Connection, rt: Runtime, row: Row[Any], submission: GroupSubmission, now: float
) -> tuple[Outcome, standing.Standing]:
    node = conn.execute(select(schema.node).where(schema.node.c.id == row.node_id)).one()
    shared = json.loads(row.shared)
    quoted = group_digest(row.id, row.nonce, bytes.fromhex(shared["evidence"]))
    try:
        check_quote(conn, rt, node, submission.quote, quoted, now)
    except RegistrationUnreadable as error:
        raise Refused(ErrorCode.UNAVAILABLE, 503, str(error), "Tell the operator.") from None
    except (TpmRejected, StateChanged, ClockWentBack) as error:
        _close(conn, row.id, ChallengeState.FAILED, now)
        audit.append(conn, "rejected", "authority", row.node_id, {"challenge": row.id, "reason": str(error)}, now)
        pushes = standing.record_attestation(conn, rt, row.node_id, ok=False, reason=str(error), now=now).pushes
        failed = PresentationKind.FAILED
        result = standing.record_presentation(conn, rt, row.node_id, row.id, failed, None, None, now)
        return Outcome.REJECTED, standing.Standing(
            result.score, result.tier, result.explanation, result.state, pushes + result.pushes
        )
    _close(conn, row.id, ChallengeState.ACCEPTED, now)
    accepted, value = PresentationKind.ACCEPTED, (shared["speed"], shared["quality"])
    basis = Basis(tuple(shared["models"]), tuple(shared["modalities"]), shared["elapsed_s"])
    weak, record = bool(shared["weak"]), standing.record_presentation
    return Outcome.ACCEPTED, record(
        conn, rt, row.node_id, row.id, accepted, *value, now, weak=weak, basis=basis, shared=True
    )


def _free_members(conn: Connection, sensor_node: str) -> Sequence[Row[Any]]:
    """Members of the sensor node's group that are in service and have no challenge open."""
    group, member, node, row = schema.challenge_group, schema.group_member, schema.node, schema.challenge
    busy = exists().where((row.c.node_id == node.c.id) & row.c.state.in_(OPEN_CHALLENGES))
    query = select(node).join(member, member.c.node_id == node.c.id).join(group, group.c.name == member.c.group)
    return conn.execute(query.where((group.c.sensor_node_id == sensor_node) & node.c.state.not_in(_OUT) & ~busy)).all()


def _ask(conn: Connection, rt: Runtime, node_id: str, shared: dict[str, Any], now: float) -> Push:
    plan = schema.schedule
    mine = plan.c.node_id == node_id
    epoch = conn.scalar(select(plan.c.epoch).where(mine))
    if epoch is None:
        conn.execute(insert(plan).values(node_id=node_id, epoch=1, next_challenge_at=now, next_attest_at=now))
    else:
        conn.execute(update(plan).where(mine).values(epoch=epoch + 1))
    deadline = now + rt.policy.attestation.answer_s
    values = {
        "id": rt.random(16).hex(),
        "node_id": node_id,
        "epoch": (epoch or 0) + 1,
        "state": ChallengeState.ACTIVATED.value,
        "reason": GROUP,
        "summoned_at": now,
        "expires_at": deadline,
        "nonce": rt.random(32),
        "activated_at": now,
        "deadline_at": deadline,
        "shared": json.dumps(shared, sort_keys=True),
    }
    conn.execute(insert(schema.challenge).values(**values))
    detail = {"challenge": values["id"], "evidence": shared["evidence"]}
    audit.append(conn, "group-summons", "authority", node_id, detail, now)
    row = conn.execute(select(schema.challenge).where(schema.challenge.c.id == values["id"])).one()
    return node_id, _summons(rt, row)


def _summons(rt: Runtime, row: Row[Any]) -> GroupSummons:
    return GroupSummons(
        challenge_id=row.id,
        nonce=row.nonce,
        evidence_sha256=bytes.fromhex(json.loads(row.shared)["evidence"]),
        pcr_selection=[*rt.policy.attestation.pcr_selection],
        expires_at=row.deadline_at,
    )


def _close(conn: Connection, challenge_id: str, state: ChallengeState, now: float) -> None:
    mine = schema.challenge.c.id == challenge_id
    conn.execute(update(schema.challenge).where(mine).values(state=state.value, answered_at=now))


def _group(conn: Connection, name: str) -> Row[Any]:
    row = conn.execute(select(schema.challenge_group).where(schema.challenge_group.c.name == name)).first()
    if row is None:
        raise Refused(ErrorCode.NOT_FOUND, 404, f"there is no group {name!r}", "List groups with `group list`.")
    return row


def _withdraw(conn: Connection, node_id: str) -> None:
    row = schema.challenge
    mine = (row.c.node_id == node_id) & (row.c.reason == GROUP) & (row.c.state == ChallengeState.ACTIVATED)
    conn.execute(update(row).where(mine).values(state=ChallengeState.WITHDRAWN.value))


def _refuse_better(conn: Connection, sensor_node: str, node_id: str) -> None:
    node = schema.node
    rows = {row.id: row for row in conn.execute(select(node).where(node.c.id.in_((sensor_node, node_id))))}
    cause = _objection(rows[sensor_node], rows[node_id])
    if cause:
        raise Refusal(cause, "Choose a sensor node with real sensors and a TPM.")


def _objection(sensor: Row[Any], member: Row[Any]) -> str:
    """A presentation is worth no more than where it was made: simulations and keys in files vouch for no better one."""
    if sensor.lab and not member.lab:
        return "a lab node vouches for no other than lab nodes"
    tpm = EnclaveKind.TPM2.value
    return (
        "a node without a TPM vouches for no node with one" if member.enclave_kind == tpm != sensor.enclave_kind else ""
    )


def _low(sensor: Row[Any]) -> str:
    """A node that is low even after somebody answered there, hostile or isolated say, lifts nobody else."""
    return "the sensor node is in the low tier itself" if sensor.tier == Tier.LOW else ""


def _refuse_member(conn: Connection, node_id: str) -> None:
    row = schema.group_member
    if conn.execute(select(row).where(row.c.node_id == node_id)).first() is not None:
        raise Refusal("the node is in a group already", "Take it out with `group remove` first.")
