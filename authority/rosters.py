"""Rosters for an auditor: which nodes there are, and which administrators are known where, at what state."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, select

from authority import profiles
from authority.store import schema
from authority.views import NodeFilter

View = dict[str, Any]
PersonState = Literal["active", "revoked"]
_NODE, _PERSON, _PROFILE, _MEMBER = schema.node, schema.administrator, schema.profile, schema.member
_OF_NODE = (
    *("name", "id", "state", "reason", "lab", "ownership", "tier", "score", "joined_at"),
    *("last_seen_at", "last_attested_at", "certificate_not_after"),
)
_OF_PROFILE = ("node", "record_id", "state", "created_at", "approved_at", "approved_by", "gone_at")


@dataclass(frozen=True)
class PersonFilter:
    """Which administrators are wanted: `node` is one (by name) at which they have a profile that is not over."""

    state: PersonState | None = None
    node: str | None = None
    search: str = ""


def node_roster(
    conn: Connection, wanted: NodeFilter, unseen_since: float | None, after: str, limit: int | None
) -> list[View]:
    """Nodes by name, behind `after`; with `unseen_since` those only that nobody has seen from then on."""
    query = select(_NODE).where(_NODE.c.name > after, *wanted.conditions())
    if unseen_since is not None:
        query = query.where(_NODE.c.last_seen_at.is_(None) | (_NODE.c.last_seen_at < unseen_since))
    rows = conn.execute(query.order_by(_NODE.c.name).limit(limit)).all()
    ids = [row.id for row in rows]
    member = select(_MEMBER.c.node_id, _MEMBER.c.network).where(_MEMBER.c.node_id.in_(ids))
    active = _PROFILE.c.node_id.in_(ids) & (profiles.counted_state == profiles.ACTIVE)
    person = select(_PROFILE.c.node_id, _PROFILE.c.admin).where(active).distinct()
    networks, people = _by_first(conn.execute(member)), _by_first(conn.execute(person))
    return [
        {
            **{name: getattr(row, name) for name in _OF_NODE},
            "enclave": row.enclave_kind,
            "networks": sorted(networks[row.id]),
            "administrators": sorted(people[row.id]),
        }
        for row in rows
    ]


def person_roster(conn: Connection, wanted: PersonFilter, after: str, limit: int | None) -> list[View]:
    """Administrators by name, behind `after`, each with all their profiles by name of the node."""
    query = select(_PERSON).where(_PERSON.c.name > after)
    if wanted.state is not None:
        revoked = _PERSON.c.revoked_at.is_not(None)
        query = query.where(revoked if wanted.state == "revoked" else ~revoked)
    if wanted.node is not None:
        there = (_NODE.c.name == wanted.node) & profiles.counted_state.not_in(profiles.OVER)
        query = query.where(_PERSON.c.name.in_(select(_PROFILE.c.admin).join(_NODE).where(there)))
    if wanted.search:
        query = query.where(_PERSON.c.name.contains(wanted.search, autoescape=True))
    rows = conn.execute(query.order_by(_PERSON.c.name).limit(limit)).all()
    held = _profiles_of(conn, [row.name for row in rows])
    return [
        {
            "name": row.name,
            "state": "active" if row.revoked_at is None else "revoked",
            "created_at": row.created_at,
            "revoked_at": row.revoked_at,
            "profiles": held[row.name],
        }
        for row in rows
    ]


def _profiles_of(conn: Connection, names: Sequence[str]) -> defaultdict[str, list[View]]:
    query = profiles.counted().add_columns(_NODE.c.name.label("node")).join(_NODE).where(_PROFILE.c.admin.in_(names))
    found: defaultdict[str, list[View]] = defaultdict(list)
    for row in conn.execute(query.order_by(_NODE.c.name, _PROFILE.c.created_at, _PROFILE.c.record_id)):
        models = [each["modality"] for each in json.loads(row.modalities)]
        found[row.admin].append({**{name: getattr(row, name) for name in _OF_PROFILE}, "modalities": models})
    return found


def _by_first(rows: Iterable[Row[Any, Any]]) -> defaultdict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(row[1])
    return found
