"""The tables of the web console."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, MetaData, String, Table, Text


def console_session(metadata: MetaData) -> Table:
    """Who is signed in: of the session's text only the hash is stored, and its rights are those of the token."""
    return Table(
        "console_session",
        metadata,
        Column("lookup", String(64), primary_key=True),
        Column("token", String(64), ForeignKey("operator_token.lookup"), nullable=False, index=True),
        Column("created_at", Float, nullable=False),
        Column("expires_at", Float, nullable=False),
        Column("seen_at", Float, nullable=False),
    )


def person_session(metadata: MetaData) -> Table:
    """As `console_session`, for whom an identity provider signed in; its rights are those that the provider told."""
    return Table(
        "person_session",
        metadata,
        Column("lookup", String(64), primary_key=True),
        Column("person", String(63), ForeignKey("oidc_person.name"), nullable=False, index=True),
        Column("scopes", Text, nullable=False),
        Column("created_at", Float, nullable=False),
        Column("expires_at", Float, nullable=False),
        Column("seen_at", Float, nullable=False),
    )
