"""The table of persons whom identity providers vouch for."""

from __future__ import annotations

from sqlalchemy import Column, Float, MetaData, String, Table, Text


def oidc_person(metadata: MetaData) -> Table:
    """Whoever was seen; `scopes` are those of their last token, and give no right."""
    return Table(
        "oidc_person",
        metadata,
        Column("name", String(63), primary_key=True),
        Column("provider", String(16), nullable=False),
        Column("subject", String(255), nullable=False),
        Column("scopes", Text, nullable=False),
        Column("first_seen_at", Float, nullable=False),
        Column("seen_at", Float, nullable=False),
        Column("stands_until", Float, nullable=False),
        Column("revoked_at", Float),
        Column("revoked_by", String(63), nullable=False, server_default=""),
    )
