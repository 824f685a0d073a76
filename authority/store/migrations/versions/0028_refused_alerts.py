"""Alerts that a destination refuses for what they are, and those that were set aside for it."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "refused_alert",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("destination", sa.String(length=255), nullable=False),
        sa.Column("alert_id", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("set_aside_at", sa.Float(), nullable=True),
        sa.UniqueConstraint("destination", "alert_id", name=op.f("uq_refused_alert_destination")),
    )


def downgrade() -> None:
    """Revert; what was set aside is in the list of alerts, and nowhere else."""
    op.drop_table("refused_alert")
