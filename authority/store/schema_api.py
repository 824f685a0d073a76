"""Tables of the open API: what waits for a second operator, and requests that may be sent again."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, String, Table, Text

from authority.store.schema import metadata

approval = Table(
    "approval",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("action", String(32), nullable=False),
    Column("target", String(255), nullable=False),
    Column("arguments", Text, nullable=False),
    Column("requested_by", String(63), nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("state", String(12), nullable=False),
    Column("decided_by", String(63), nullable=False, server_default=""),
    Column("decided_at", Float),
    Column("decision", Text, nullable=False, server_default=""),
    Index("ix_approval_state_expires_at", "state", "expires_at"),
)
"""Orders of one operator that take effect when another says so."""

repeatable = Table(
    "repeatable",
    metadata,
    Column("lookup", String(64), primary_key=True),
    Column("caller", String(63), nullable=False),
    Column("request", String(64), nullable=False),
    Column("begun_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("status", Integer),
    Column("answer", Text),
    Index("ix_repeatable_caller", "caller"),
    Index("ix_repeatable_expires_at", "expires_at"),
)
"""Requests with an idempotency key. `lookup` is a hash of caller and key, `request` one of what was asked; `status` is
missing while it is carried out, `answer` where it held a secret or was too long.
"""
