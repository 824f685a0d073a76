"""The table of drivers that follow others."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text


def driver_follower(metadata: MetaData) -> Table:
    """What operators said of driver code, by its hash: `new` may stand in for `old`, until that was withdrawn."""
    return Table(
        "driver_follower",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("old", String(64), nullable=False, index=True),
        Column("new", String(64), nullable=False),
        Column("reason", Text, nullable=False),
        Column("allowed_by", String(80), nullable=False),
        Column("allowed_at", Float, nullable=False),
        Column("withdrawn_by", String(80)),
        Column("withdrawn_at", Float),
    )
