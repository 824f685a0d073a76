"""Tables of the data plane: networks, their versions, members, epochs, and what was delivered."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from authority.store.schema_base import metadata

network = Table(
    "network",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("floor", Integer, nullable=False, default=0, server_default="0"),
    Column("look_at", Float, nullable=False, default=0.0, server_default="0"),
    Column("pending", Boolean, nullable=False, default=False, server_default=false()),
    Column("stepped_at", Float, nullable=False, default=0.0, server_default="0"),
    Column("settled_at", Float, nullable=False, default=0.0, server_default="0"),
)
"""`floor`: no version below it is ever used again. `look_at`: when time alone brings something about; `pending`: an
acknowledgement may bring its keys a step on; `stepped_at`: when the newest epoch was made; `settled_at`: when everybody
last had the newest of all.
"""

key_version = Table(
    "key_version",
    metadata,
    Column("network", String(63), ForeignKey("network.name"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("kek_id", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("destroyed_at", Float),
    Column("moved_at", Float, nullable=False, default=0.0, server_default="0"),
    Column("shred_id", String(32), nullable=False, default="", server_default=""),
    Column("shredded_at", Float),
    Index("ix_key_version_network_state", "network", "state", "version"),
    Index("ix_key_version_state_shredded_at", "state", "shredded_at"),
)
"""`shred_id` names the shred key, kept outside the database, that the secret is wrapped under besides the KEK."""

member = Table(
    "member",
    metadata,
    Column("network", String(63), ForeignKey("network.name"), primary_key=True),
    Column("node_id", String(64), ForeignKey("node.id"), primary_key=True),
    Column("address", String(64), nullable=False),
    Column("resource_class", String(16), nullable=False),
    Column("epoch", Integer, nullable=False, default=0),
    Column("version", Integer),
    Column("rotate_at", Float, nullable=False, default=0.0),
    Column("slot", Integer, nullable=False, server_default="0"),
    Column("outstanding_since", Float),
    UniqueConstraint("network", "address"),
    Index("ix_member_outstanding", "network", "outstanding_since"),
)
"""`epoch` is the highest of all; `outstanding_since`: when the oldest delivery was made that it owes an answer to."""

member_epoch = Table(
    "member_epoch",
    metadata,
    Column("network", String(63), ForeignKey("network.name"), primary_key=True),
    Column("node_id", String(64), ForeignKey("node.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("fresh", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("not_before", Float, nullable=False),
)
"""The epochs of a source that somebody may still send or receive under."""

evicted_pair = Table(
    "evicted_pair",
    metadata,
    Column("network", String(63), ForeignKey("network.name"), primary_key=True),
    Column("source", Integer, primary_key=True, autoincrement=False),
    Column("destination", Integer, primary_key=True, autoincrement=False),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False, index=True),
    Column("since", Float, nullable=False),
)
"""Pairs, by slots, whose rotation a node (`node_id`) held up for longer than it is waited for."""

delivery = Table(
    "delivery",
    metadata,
    Column("node_id", String(64), ForeignKey("node.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("network", String(63), nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("identity", Text, nullable=False, default=""),
    Column("issued_at", Float, nullable=False),
    Column("acked_at", Float),
    Column("ack", Text),
    Column("ended_at", Float),
    Index("ix_delivery_ended", "network", "ended_at", "node_id"),
)
"""`ended_at`: when the node first acknowledged a later one."""
