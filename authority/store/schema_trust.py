"""Tables that a score follows from: challenges, presentations, signals, policies, groups, the brake."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from authority.store.schema_base import metadata

challenge = Table(
    "challenge",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("summoned_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("record_id", String(32)),
    Column("nonce", LargeBinary),
    Column("activated_at", Float),
    Column("deadline_at", Float),
    Column("answered_at", Float),
    Column("evidence_sha256", String(64)),
    Column("verdict", Text),
    Column("claim", SmallInteger),
    Column("shared", Text),
    Column("evidence_seq", Integer),
    UniqueConstraint("node_id", "epoch"),
    Index("ix_challenge_state_expires", "state", "expires_at"),
)

schedule = Table(
    "schedule",
    metadata,
    Column("node_id", String(64), ForeignKey("node.id"), primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("next_challenge_at", Float, nullable=False, index=True),
    Column("next_attest_at", Float, nullable=False),
    Column("attest_deadline_at", Float),
    Column("checkin_at", Float),
)

presentation = Table(
    "presentation",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False, index=True),
    Column("challenge_id", String(32), nullable=False, unique=True),
    Column("at", Float, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("speed", Integer),
    Column("quality", Integer),
    Column("weak", Boolean, nullable=False, default=False, server_default=false()),
    Column("models", Text, nullable=False, default="[]", server_default="[]"),
    Column("modalities", Text, nullable=False, default="[]", server_default="[]"),
    Column("elapsed_s", Float),
    Column("shared", Boolean, nullable=False, default=False, server_default=false()),
)

signal = Table(
    "signal",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False),
    Column("origin", String(8), nullable=False),
    Column("reporter", String(80), nullable=False),
    Column("source", String(48), nullable=False),
    Column("ref", String(80), nullable=False),
    Column("kind", String(48), nullable=False),
    Column("severity", String(8), nullable=False),
    Column("confidence", Integer, nullable=False),
    Column("observed_at", Float, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("ended_at", Float),
    UniqueConstraint("origin", "reporter", "source", "ref"),
    Index("ix_signal_node_id_expires_at", "node_id", "expires_at"),
)
"""`ended_at`: an operator withdrew it, or a signal that says no less took its place."""

policy_version = Table(
    "policy_version",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("sha256", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("settings", Text, nullable=False),
    Column("since", Float, nullable=False),
)
"""Policies in the order in which they came into force."""

challenge_group = Table(
    "challenge_group",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("sensor_node_id", String(64), ForeignKey("node.id"), nullable=False),
    Column("created_at", Float, nullable=False),
)

group_member = Table(
    "group_member",
    metadata,
    Column("node_id", String(64), ForeignKey("node.id"), primary_key=True),
    Column("group", String(63), ForeignKey("challenge_group.name"), nullable=False),
)

brake = Table(
    "brake",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("engaged_at", Float, nullable=False),
    Column("engaged_by", String(80), nullable=False),
    Column("cause", Text, nullable=False),
    Column("ended_at", Float),
)

brake_vote = Table(
    "brake_vote",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("brake", Integer, nullable=False),
    Column("operator", String(63), nullable=False),
    Column("decision", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
)

brake_fall = Table(
    "brake_fall",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False),
    Column("at", Float, nullable=False),
)
