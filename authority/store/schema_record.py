"""Tables of what is told and kept: alerts, where they go, the audit log and its tree."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, String, Table, Text, UniqueConstraint

from authority.store.schema_base import metadata

alert = Table(
    "alert",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("node_id", String(64)),
    Column("text", Text, nullable=False),
    Column("data", Text, nullable=False, default="{}"),
    Column("delivered_at", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("repeats", Integer, nullable=False, server_default="0"),
    Column("last_at", Float),
    Column("acknowledged_at", Float),
    Column("acknowledged_by", String(80), nullable=False, server_default=""),
    Column("acknowledgement", Text, nullable=False, server_default=""),
    Index("ix_alert_delivered_at_id", "delivered_at", "id"),
)

alert_destination = Table(
    "alert_destination",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("cursor", Integer, nullable=False, default=0),
    Column("sent", Integer, nullable=False, default=0, server_default="0"),
    Column("failed", Integer, nullable=False, default=0, server_default="0"),
    Column("dropped", Integer, nullable=False, default=0, server_default="0"),
    Column("last_sent_at", Float),
    Column("last_error", Text, nullable=False, default="", server_default=""),
    Column("last_error_at", Float),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("node_id", String(64)),
    Column("data", Text, nullable=False),
    Index("ix_audit_node_id_seq", "node_id", "seq"),
)

log_node = Table(
    "log_node",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
)

log_checkpoint = Table(
    "log_checkpoint",
    metadata,
    Column("size", Integer, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Float, nullable=False),
)

refused_alert = Table(
    "refused_alert",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("destination", String(255), nullable=False),
    Column("alert_id", Integer, nullable=False),
    Column("since", Float, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("cause", Text, nullable=False),
    Column("set_aside_at", Float),
    UniqueConstraint("destination", "alert_id"),
)
"""Alerts that a destination refuses for what they are."""
