"""Tables of people: who may answer at which node, who may give orders."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from authority.store.schema_base import metadata

administrator = Table(
    "administrator",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
)

ticket = Table(
    "ticket",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("admin", String(63), nullable=False),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False),
    Column("lookup", String(64), nullable=False),
    Column("pin_salt", LargeBinary, nullable=False),
    Column("pin_hash", LargeBinary, nullable=False),
    Column("tries_left", Integer, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
)

profile = Table(
    "profile",
    metadata,
    Column("record_id", String(32), primary_key=True),
    Column("enrolment_id", String(32), nullable=False, unique=True),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False, index=True),
    Column("admin", String(63), ForeignKey("administrator.name"), nullable=False),
    Column("state", String(16), nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("release_share", LargeBinary, nullable=False),
    Column("public", LargeBinary, nullable=False, default=b""),
    Column("modalities", Text, nullable=False, default="[]"),
    Column("sensors", Text, nullable=False, default="[]"),
    Column("consent", Text, nullable=False, default="{}"),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("approved_at", Float),
    Column("approved_by", String(63)),
    Column("counter", Integer, nullable=False, default=0),
    Column("failures_in_row", Integer, nullable=False, default=0),
    Column("locked_until", Float),
    Column("share_number", Integer, nullable=False, default=0, server_default="0"),
    Column("following_share", LargeBinary, nullable=False, default=b"", server_default=""),
    Column("releases", Integer, nullable=False, default=0, server_default="0"),
    Column("guard_public", LargeBinary, nullable=False, default=b"", server_default=""),
    Column("guard_change", LargeBinary, nullable=False, default=b"", server_default=""),
    Column("unlocked_at", Float),
    Column("replaces", String(32)),
    Column("erased_at", Float),
    Column("gone_at", Float),
    Column("tagged", Text, nullable=False, default="[]", server_default="[]"),
    Column("infrared", Text, nullable=False, default="", server_default=""),
    Index("ix_profile_admin_record_id", "admin", "record_id"),
)

replay_tag = Table(
    "replay_tag",
    metadata,
    Column("record_id", String(32), primary_key=True),
    Column("tag", LargeBinary, primary_key=True),
    Column("at", Float, nullable=False, index=True),
)

operator_token = Table(
    "operator_token",
    metadata,
    Column("lookup", String(64), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
    Column("kind", String(12), nullable=False, server_default="token"),
    Column("identity", String(63), nullable=False, server_default=""),
)
"""`identity`: whose it is (`oidc:PROVIDER/SUBJECT`, `person:NAME`), where that was said."""
