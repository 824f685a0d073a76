"""Nodes that nobody sees any more."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "stale_node",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("alerted_at", sa.Float(), nullable=False),
        sa.Column("retired_at", sa.Float(), nullable=True),
        sa.Column("was", sa.String(length=16), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_stale_node_node_id_node")),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_stale_node")),
    )


def downgrade() -> None:
    """Revert; nodes that were retired as stale stay retired for good."""
    op.drop_table("stale_node")
