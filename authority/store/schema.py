"""Tables of the authority. Times are POSIX seconds, scores thousandths, structured values JSON text.

Nothing biometric is stored: no sample, no feature, no template, no helper data. A replay tag is an HMAC under a key
that only the node has.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from authority.store import schema_console
from authority.store.schema_drivers import driver_follower as _driver_follower
from authority.store.schema_indices import index_what_grows
from authority.store.schema_oidc import oidc_person as _oidc_person
from authority.store.schema_replicas import replica_tables
from authority.store.schema_results import result_tables

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

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
)

replay_tag = Table(
    "replay_tag",
    metadata,
    Column("record_id", String(32), primary_key=True),
    Column("tag", LargeBinary, primary_key=True),
    Column("at", Float, nullable=False, index=True),
)

challenge = Table(
    "challenge",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("summoned_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("record_id", String(32)),
    Column("nonce", LargeBinary),
    Column("activated_at", Float),
    Column("deadline_at", Float),
    Column("answered_at", Float),
    Column("evidence_sha256", String(64)),
    Column("verdict", Text),
    Column("claim", SmallInteger),
    Column("shared", Text),
    Column("evidence_seq", Integer),
    UniqueConstraint("node_id", "epoch"),
    Index("ix_challenge_state_expires", "state", "expires_at"),
)

schedule = Table(
    "schedule",
    metadata,
    Column("node_id", String(64), ForeignKey("node.id"), primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("next_challenge_at", Float, nullable=False, index=True),
    Column("next_attest_at", Float, nullable=False),
    Column("attest_deadline_at", Float),
    Column("checkin_at", Float),
)

presentation = Table(
    "presentation",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False, index=True),
    Column("challenge_id", String(32), nullable=False, unique=True),
    Column("at", Float, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("speed", Integer),
    Column("quality", Integer),
    Column("weak", Boolean, nullable=False, default=False, server_default=false()),
    Column("models", Text, nullable=False, default="[]", server_default="[]"),
    Column("modalities", Text, nullable=False, default="[]", server_default="[]"),
    Column("elapsed_s", Float),
    Column("shared", Boolean, nullable=False, default=False, server_default=false()),
)

signal = Table(
    "signal",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False),
    Column("origin", String(8), nullable=False),
    Column("reporter", String(80), nullable=False),
    Column("source", String(48), nullable=False),
    Column("ref", String(80), nullable=False),
    Column("kind", String(48), nullable=False),
    Column("severity", String(8), nullable=False),
    Column("confidence", Integer, nullable=False),
    Column("observed_at", Float, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("ended_at", Float),
    UniqueConstraint("origin", "reporter", "source", "ref"),
    Index("ix_signal_node_id_expires_at", "node_id", "expires_at"),
)
"""`ended_at`: an operator withdrew it, or a signal that says no less took its place."""

policy_version = Table(
    "policy_version",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("sha256", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("settings", Text, nullable=False),
    Column("since", Float, nullable=False),
)
"""Policies in the order in which they came into force."""

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

alert = Table(
    "alert",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("node_id", String(64)),
    Column("text", Text, nullable=False),
    Column("data", Text, nullable=False, default="{}"),
    Column("delivered_at", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("repeats", Integer, nullable=False, server_default="0"),
    Column("last_at", Float),
    Column("acknowledged_at", Float),
    Column("acknowledged_by", String(80), nullable=False, server_default=""),
    Column("acknowledgement", Text, nullable=False, server_default=""),
    Index("ix_alert_delivered_at_id", "delivered_at", "id"),
)

alert_destination = Table(
    "alert_destination",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("cursor", Integer, nullable=False, default=0),
    Column("sent", Integer, nullable=False, default=0),
    Column("failed", Integer, nullable=False, default=0),
    Column("dropped", Integer, nullable=False, default=0),
    Column("last_sent_at", Float),
    Column("last_error", Text, nullable=False, default=""),
    Column("last_error_at", Float),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("node_id", String(64)),
    Column("data", Text, nullable=False),
    Index("ix_audit_node_id_seq", "node_id", "seq"),
)

challenge_group = Table(
    "challenge_group",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("sensor_node_id", String(64), ForeignKey("node.id"), nullable=False),
    Column("created_at", Float, nullable=False),
)

group_member = Table(
    "group_member",
    metadata,
    Column("node_id", String(64), ForeignKey("node.id"), primary_key=True),
    Column("group", String(63), ForeignKey("challenge_group.name"), nullable=False),
)

brake = Table(
    "brake",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("engaged_at", Float, nullable=False),
    Column("engaged_by", String(80), nullable=False),
    Column("cause", Text, nullable=False),
    Column("ended_at", Float),
)

brake_vote = Table(
    "brake_vote",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("brake", Integer, nullable=False),
    Column("operator", String(63), nullable=False),
    Column("decision", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
)

brake_fall = Table(
    "brake_fall",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("node_id", String(64), ForeignKey("node.id"), nullable=False),
    Column("at", Float, nullable=False),
)

log_node = Table(
    "log_node",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
)

log_checkpoint = Table(
    "log_checkpoint",
    metadata,
    Column("size", Integer, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Float, nullable=False),
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
)

console_session = schema_console.console_session(metadata)
oidc_person = _oidc_person(metadata)
driver_follower = _driver_follower(metadata)
attestation_result, result_subscriber = result_tables(metadata)
replica, lease, push = replica_tables(metadata)
"""`push.event` is empty where a node has connected to the replica `origin`, and older connections of it are to end."""
index_what_grows(metadata)
