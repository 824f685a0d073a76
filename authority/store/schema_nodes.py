"""Tables of nodes: what they are, how they joined, and what is expected of their machines."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from authority.store.schema_base import metadata

meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", Text, nullable=False))

node = Table(
    "node",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("lab", Boolean, nullable=False),
    Column("ek_public", LargeBinary, nullable=False),
    Column("ak_public", LargeBinary, nullable=False),
    Column("delivery_public", LargeBinary, nullable=False),
    Column("certificate_sha256", String(64), nullable=False),
    Column("certificate_not_after", Float, nullable=False),
    Column("reference_pcrs", Text, nullable=False),
    Column("devices", Text, nullable=False),
    Column("reset_count", Integer, nullable=False, default=0),
    Column("clock", Integer, nullable=False, default=0),
    Column("joined_at", Float, nullable=False),
    Column("last_seen_at", Float),
    Column("last_attested_at", Float),
    Column("attestation_failed", Boolean, nullable=False, default=False),
    Column("score", Integer, nullable=False, default=0),
    Column("tier", String(8), nullable=False, default="low"),
    Column("explanation", Text, nullable=False, default=""),
    Column("reason", Text, nullable=False, default=""),
    Column("next_delivery", Integer, nullable=False, default=1),
    Column("counted_after", Integer, nullable=False, default=0),
    Column("enclave_kind", String(16), nullable=False, default="tpm2", server_default="tpm2"),
    Column("nv_counter", BigInteger),
    Column("floor_public", LargeBinary, nullable=False, default=b"", server_default=""),
    Column("state_version", Integer, nullable=False, default=0, server_default="0"),
    Column("endpoint", String(45), nullable=False, default="", server_default=""),
    Column("wireguard_public", LargeBinary, nullable=False, default=b"", server_default=""),
    Column("wireguard_port", Integer, nullable=False, default=0, server_default="0"),
    Column("ownership", String(16), nullable=False, default="none", server_default="none"),
    Column("endpoint_pinned", Boolean, nullable=False, default=False, server_default=false()),
)
"""`endpoint_pinned`: an operator set the endpoint, so that what the node reports does not move it."""

tpm_owner = Table(
    "tpm_owner",
    metadata,
    Column("node_id", String(64), ForeignKey("node.id"), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("drawn_at", Float, nullable=False),
    Column("taken_at", Float),
)
"""Authorisation values of the owner and the lockout of a node's TPM, wrapped by the key-encryption key."""

reference_value = Table(
    "reference_value",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("value", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("origin", Integer),
    Column("events", Text),
    Column("first_seen_at", Float),
    Column("last_seen_at", Float),
    Column("held_at", Float),
    Column("decided_at", Float),
    Column("decided_by", String(80)),
    UniqueConstraint("node_id", "kind", "digest"),
    sqlite_autoincrement=True,
)
"""Machine states and agent measurements that operators review; `origin` is the value that one was rolled out from."""

join_token = Table(
    "join_token",
    metadata,
    Column("lookup", String(64), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("lab", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
)

join_attempt = Table(
    "join_attempt",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("token", String(64), nullable=False),
    Column("request", Text, nullable=False),
    Column("node_id", String(64), nullable=False),
    Column("secret_sha256", String(64), nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("expires_at", Float, nullable=False),
)

nonce = Table(
    "nonce",
    metadata,
    Column("value", String(64), primary_key=True),
    Column("node_id", String(64), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
)
