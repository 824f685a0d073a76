"""Numbered release shares, guards and floors of nodes with a TPM, erasure; profiles of before keep share number 0."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_PROFILE = (
    "share_number",
    "following_share",
    "releases",
    "guard_public",
    "guard_change",
    "unlocked_at",
    "replaces",
    "erased_at",
    "gone_at",
)


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.add_column(sa.Column("floor_public", sa.LargeBinary(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("state_version", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("profile", schema=None) as batch_op:
        batch_op.add_column(sa.Column("share_number", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("following_share", sa.LargeBinary(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("releases", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("guard_public", sa.LargeBinary(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("guard_change", sa.LargeBinary(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("unlocked_at", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("replaces", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("erased_at", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("gone_at", sa.Float(), nullable=True))


def downgrade() -> None:
    """Revert."""
    with op.batch_alter_table("profile", schema=None) as batch_op:
        for column in _PROFILE:
            batch_op.drop_column(column)
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.drop_column("state_version")
        batch_op.drop_column("floor_public")
