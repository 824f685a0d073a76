"""Orders over the whole fleet, carried out in passes; profiles by whose they are."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "fleet_order",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.Float(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("reached", sa.String(length=64), nullable=False),
        sa.Column("moved_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("outcome", sa.String(length=12), nullable=False),
    )
    op.create_index("ix_fleet_order_ended_at_id", "fleet_order", ["ended_at", "id"])
    op.create_index("ix_profile_admin_record_id", "profile", ["admin", "record_id"])


def downgrade() -> None:
    """Revert; what an order had not come to stays as it is."""
    op.drop_index("ix_profile_admin_record_id", "profile")
    op.drop_index("ix_fleet_order_ended_at_id", "fleet_order")
    op.drop_table("fleet_order")
