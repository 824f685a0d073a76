"""The table of nodes that nobody sees any more."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, String, Table

from authority.store.schema import metadata

stale_node = Table(
    "stale_node",
    metadata,
    Column("node_id", String(64), ForeignKey("node.id"), primary_key=True),
    Column("alerted_at", Float, nullable=False),
    Column("retired_at", Float),
    Column("was", String(16), nullable=False, server_default=""),
)
"""Silent nodes that were told of; `retired_at` and `was`, the state before, of those that were retired for it."""
