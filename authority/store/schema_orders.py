"""The table of orders over the whole fleet, which are carried out in passes."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, String, Table, Text

from authority.store.schema_base import metadata

fleet_order = Table(
    "fleet_order",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("begun_at", Float, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("reached", String(64), nullable=False),
    Column("moved_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("outcome", String(12), nullable=False),
    Index("ix_fleet_order_ended_at_id", "ended_at", "id"),
)
"""`total`: records or nodes when it began; `reached`: the last that a pass came to; `outcome` is empty till the end."""
