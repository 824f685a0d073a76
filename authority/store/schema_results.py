"""The tables of attestation results: what was issued, and how far each subscriber came."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, MetaData, String, Table, Text


def result_tables(metadata: MetaData) -> tuple[Table, Table]:
    """`attestation_result` and `result_subscriber`; ids are never given twice."""
    result = Table(
        "attestation_result",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("at", Float, nullable=False, index=True),
        Column("node_id", String(64), nullable=False),
        Column("cause", String(16), nullable=False),
        Column("ear", Text, nullable=False),
        Column("delivered_at", Float),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Index("ix_attestation_result_node_id_id", "node_id", "id"),
        Index("ix_attestation_result_delivered_at_id", "delivered_at", "id"),
        sqlite_autoincrement=True,
    )
    subscriber = Table(
        "result_subscriber",
        metadata,
        Column("name", String(255), primary_key=True),
        Column("cursor", Integer, nullable=False, server_default="0"),
        Column("sent", Integer, nullable=False, server_default="0"),
        Column("failed", Integer, nullable=False, server_default="0"),
        Column("dropped", Integer, nullable=False, server_default="0"),
        Column("last_sent_at", Float),
        Column("last_error", Text, nullable=False, server_default=""),
        Column("last_error_at", Float),
    )
    return result, subscriber
