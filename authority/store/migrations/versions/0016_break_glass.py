"""Break-glass credentials, and which nodes trust the CA that comes next."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "break_glass",
        sa.Column("id", sa.String(length=16), primary_key=True),
        sa.Column("lookup", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("operator", sa.String(length=63), nullable=False, server_default=""),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.UniqueConstraint("lookup", name="uq_break_glass_lookup"),
    )
    op.create_table(
        "ca_trust",
        sa.Column("node_id", sa.String(length=64), primary_key=True),
        sa.Column("ca_sha256", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    """Revert; credentials that were made admit nobody any more."""
    op.drop_table("ca_trust")
    op.drop_table("break_glass")
