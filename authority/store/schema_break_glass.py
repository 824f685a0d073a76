"""Credentials for an emergency: made beforehand, good once."""

from __future__ import annotations

from sqlalchemy import Column, Float, String, Table, Text

from authority.store.schema import metadata

break_glass = Table(
    "break_glass",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("lookup", String(64), nullable=False, unique=True),
    Column("made_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("operator", String(63), nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
)
"""`ended_at`: it was used, by `operator`, or voided, where that is empty."""

ca_trust = Table(
    "ca_trust",
    metadata,
    Column("node_id", String(64), primary_key=True),
    Column("ca_sha256", String(64), nullable=False),
    Column("at", Float, nullable=False),
)
"""Nodes that said which CA, besides the present one, they trust."""
