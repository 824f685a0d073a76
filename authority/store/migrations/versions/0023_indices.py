"""Indices for what every beat and every request looks for, so that neither reads the whole fleet."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_INDICES = {
    "ix_node_certificate_sha256": ("node", "certificate_sha256"),
    "ix_node_state": ("node", "state"),
    "ix_schedule_next_attest_at": ("schedule", "next_attest_at"),
    "ix_challenge_node_id_state": ("challenge", "node_id", "state"),
    "ix_challenge_record_id_activated_at": ("challenge", "record_id", "activated_at"),
    "ix_nonce_expires_at": ("nonce", "expires_at"),
    "ix_brake_fall_at_node_id": ("brake_fall", "at", "node_id"),
    "ix_member_node_id": ("member", "node_id"),
}


def upgrade() -> None:
    """Apply."""
    for name, (table, *columns) in _INDICES.items():
        op.create_index(name, table, columns)


def downgrade() -> None:
    """Revert."""
    for name, (table, *_) in _INDICES.items():
        op.drop_index(name, table)
