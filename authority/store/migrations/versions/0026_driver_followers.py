"""Drivers that follow the ones which profiles were enrolled with."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "driver_follower",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("old", sa.String(length=64), nullable=False),
        sa.Column("new", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("allowed_by", sa.String(length=80), nullable=False),
        sa.Column("allowed_at", sa.Float(), nullable=False),
        sa.Column("withdrawn_by", sa.String(length=80), nullable=True),
        sa.Column("withdrawn_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_driver_follower")),
    )
    op.create_index(op.f("ix_driver_follower_old"), "driver_follower", ["old"])


def downgrade() -> None:
    """Revert; profiles that were enrolled with a driver before want enrolling again."""
    op.drop_table("driver_follower")
