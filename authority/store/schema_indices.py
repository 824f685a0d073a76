"""Indices of what every beat and every request looks for in tables that grow with the fleet, or with time."""

from __future__ import annotations

from sqlalchemy import Index, MetaData

GROWING = {
    "ix_node_certificate_sha256": ("node", "certificate_sha256"),
    "ix_node_state": ("node", "state"),
    "ix_schedule_next_attest_at": ("schedule", "next_attest_at"),
    "ix_challenge_node_id_state": ("challenge", "node_id", "state"),
    "ix_challenge_record_id_activated_at": ("challenge", "record_id", "activated_at"),
    "ix_nonce_expires_at": ("nonce", "expires_at"),
    "ix_brake_fall_at_node_id": ("brake_fall", "at", "node_id"),
    "ix_member_node_id": ("member", "node_id"),
    "ix_challenge_group_sensor_node_id": ("challenge_group", "sensor_node_id"),
    "ix_group_member_group": ("group_member", "group"),
    "ix_profile_public": ("profile", "public"),
    "ix_profile_node_id_admin": ("profile", "node_id", "admin"),
}
"""Name to table and columns."""


def index_what_grows(metadata: MetaData) -> None:
    """Add the indices to tables that are there."""
    for name, (table, *columns) in GROWING.items():
        made = metadata.tables[table]
        Index(name, *(made.c[column] for column in columns))
