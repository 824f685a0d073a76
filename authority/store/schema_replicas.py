"""Tables by which replicas of one authority know of one another. Times are POSIX seconds of the database's clock."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Integer, MetaData, String, Table, Text


def replica_tables(metadata: MetaData) -> tuple[Table, Table, Table]:
    """`replica`, `lease` and `push`, in that order."""
    replica = Table(
        "replica",
        metadata,
        Column("id", String(32), primary_key=True),
        Column("name", String(255), nullable=False),
        Column("started_at", Float, nullable=False),
        Column("seen_at", Float, nullable=False),
    )
    lease = Table(
        "lease",
        metadata,
        Column("name", String(255), primary_key=True),
        Column("owner", String(32), nullable=False),
        Column("term", BigInteger, nullable=False),
        Column("until", Float, nullable=False),
    )
    push = Table(
        "push",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("origin", String(32), nullable=False),
        Column("node_id", String(64), nullable=False),
        Column("event", Text, nullable=False),
        Column("at", Float, nullable=False, index=True),
        sqlite_autoincrement=True,
    )
    return replica, lease, push
