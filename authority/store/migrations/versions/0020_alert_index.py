"""An index for the alerts that wait, so that each delivery looks at these alone."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_alert_delivered_at_id", "alert", ["delivered_at", "id"])


def downgrade() -> None:
    """Revert."""
    op.drop_index("ix_alert_delivered_at_id", "alert")
