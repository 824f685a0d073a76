"""Indices for what requests ask for: challenge groups at each accepted presentation, profile keys at each enrolment."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_INDICES = {
    "ix_challenge_group_sensor_node_id": ("challenge_group", "sensor_node_id"),
    "ix_group_member_group": ("group_member", "group"),
    "ix_profile_public": ("profile", "public"),
    "ix_profile_node_id_admin": ("profile", "node_id", "admin"),
}


def upgrade() -> None:
    """Apply."""
    for name, (table, *columns) in _INDICES.items():
        op.create_index(name, table, columns)


def downgrade() -> None:
    """Revert."""
    for name, (table, *_) in _INDICES.items():
        op.drop_index(name, table)
