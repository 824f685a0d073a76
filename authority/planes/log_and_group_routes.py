"""Operator plane: proofs of the audit log, and challenge groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Depends, FastAPI, Path, Query, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Row

from authority import api, audit, checkpoints, groups, samples
from authority.operators import Operator
from authority.planes.access import OPERATOR, access
from authority.planes.described import answers
from authority.planes.paging import AfterName, PageOf
from authority.roles import Scope
from authority.runtime import Push
from protocol.messages import LogConsistency

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

View = dict[str, Any]
Demand = Callable[[Scope], Callable[[Request], Awaitable[Operator]]]
FindNode = Callable[[Connection, str], Row[Any]]
CheckName = Callable[[str, str], str]
LARGEST = 2**63 - 1


class GroupRequest(BaseModel):
    """A challenge group to create."""

    model_config = ConfigDict(extra="forbid")

    name: str
    sensor_node: str


class GroupMemberRequest(BaseModel):
    """A member of a challenge group."""

    model_config = ConfigDict(extra="forbid")

    node: str


def log_routes(app: FastAPI, context: OperatorContext, demand: Demand) -> None:
    """The audit log's proofs."""
    read, rt = [Depends(demand(Scope.AUDIT))], context.runtime

    @app.get("/v1/audit/verify", dependencies=read)
    @answers(api.AuditReport)
    @access(OPERATOR)
    async def verify_audit() -> View:
        """Build the audit log's tree anew; `intact` tells whether every record, node and checkpoint holds."""
        report: audit.LogReport = await context.read(audit.verify_log)
        return {"intact": report.intact, **dataclasses.asdict(report)}

    @app.get("/v1/audit/checkpoint", dependencies=read)
    @answers(api.AuditCheckpoint)
    @access(OPERATOR)
    async def checkpoint_audit() -> View:
        """A signed checkpoint over the audit log as it is now."""
        found: View = await context.read(lambda conn: checkpoints.described(rt, checkpoints.issue(conn, rt, rt.now())))
        return found

    @app.get("/v1/audit/consistency", dependencies=read)
    @answers(api.Consistency)
    @access(OPERATOR)
    async def audit_consistency(
        first: Annotated[int, Query(alias="from", ge=0, le=LARGEST)],
        second: Annotated[int, Query(alias="to", ge=0, le=LARGEST)],
    ) -> View:
        """Hashes that show one checkpoint to continue another."""
        found: LogConsistency = await context.read(lambda conn: checkpoints.consistency(conn, first, second))
        return {"proof": [each.hex() for each in found.hashes]}

    @app.get("/v1/audit/{seq}/proof", dependencies=read)
    @answers(api.AuditProof)
    @access(OPERATOR)
    async def prove_record(seq: Annotated[int, Path(ge=1, le=LARGEST)]) -> View:
        """A record with the proof that a signed checkpoint covers it."""
        found: View = await context.read(lambda conn: checkpoints.inclusion(conn, rt, seq, rt.now()))
        return found

    @app.get("/v1/challenges/{challenge_id}/evidence", dependencies=read)
    @answers(api.EvidenceProof)
    @access(OPERATOR)
    async def prove_evidence(challenge_id: Annotated[str, Path(max_length=64)]) -> View:
        """The audit record of what a challenge's evidence committed to, with the proof that a checkpoint covers it."""

        def prove(conn: Connection) -> View:
            seq = samples.logged(conn, challenge_id)
            return {"seq": seq, **checkpoints.inclusion(conn, rt, seq, rt.now())}

        found: View = await context.read(prove)
        return found


def group_routes(app: FastAPI, context: OperatorContext, demand: Demand, node: FindNode, checked: CheckName) -> None:
    """Challenge groups; `node` finds a node by its name, `checked` refuses what is no name."""
    operate, now = Depends(demand(Scope.OPERATE)), context.runtime.now

    @app.get("/v1/groups", dependencies=[Depends(demand(Scope.READ))])
    @answers(list[api.Group])
    @access(OPERATOR)
    async def list_groups(page: PageOf, after: AfterName = "") -> list[View]:
        """Challenge groups with sensor node and members, by name."""
        return page.cut(await context.read(groups.listing), after, itemgetter("name"))

    @app.post("/v1/groups", status_code=201)
    @answers(api.Done)
    @access(OPERATOR)
    async def create_group(body: GroupRequest, operator: Operator = operate) -> View:
        """A group whose people present themselves at one node."""
        name = checked("group", body.name)

        def create(conn: Connection) -> list[Push]:
            groups.create(conn, name, node(conn, body.sensor_node).id, operator.name, now())
            return []

        return await context.act(create)

    @app.post("/v1/groups/{group}/{verb}")
    @answers(api.Done)
    @access(OPERATOR)
    async def change_group(
        group: str, verb: Literal["add", "remove"], body: GroupMemberRequest, operator: Operator = operate
    ) -> View:
        """Let a node share the group's presentations, or no longer."""
        change = groups.add if verb == "add" else groups.remove

        def act(conn: Connection) -> list[Push]:
            change(conn, group, node(conn, body.node).id, operator.name, now())
            return []

        return await context.act(act)
