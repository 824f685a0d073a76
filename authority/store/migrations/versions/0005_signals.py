"""Signals of network behaviour, the policies that were in force, and what a presentation's worth depends on."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Presentations of before have no models and no time: their worth stays what it was."""
    op.create_table(
        "signal",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("node_id", sa.String(64), sa.ForeignKey("node.id", name="fk_signal_node_id_node"), nullable=False),
        sa.Column("origin", sa.String(8), nullable=False),
        sa.Column("reporter", sa.String(80), nullable=False),
        sa.Column("source", sa.String(48), nullable=False),
        sa.Column("ref", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(48), nullable=False),
        sa.Column("severity", sa.String(8), nullable=False),
        sa.Column("confidence", sa.Integer(), nullable=False),
        sa.Column("observed_at", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float()),
        sa.Column("ended_at", sa.Float()),
        sa.UniqueConstraint("origin", "reporter", "source", "ref", name="uq_signal_origin"),
    )
    op.create_index("ix_signal_node_id_expires_at", "signal", ["node_id", "expires_at"])
    op.create_table(
        "policy_version",
        sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
    )
    with op.batch_alter_table("presentation", schema=None) as batch_op:
        batch_op.add_column(sa.Column("models", sa.Text(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("modalities", sa.Text(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("elapsed_s", sa.Float()))


def downgrade() -> None:
    """Revert."""
    with op.batch_alter_table("presentation", schema=None) as batch_op:
        batch_op.drop_column("elapsed_s")
        batch_op.drop_column("modalities")
        batch_op.drop_column("models")
    op.drop_table("policy_version")
    op.drop_index("ix_signal_node_id_expires_at", table_name="signal")
    op.drop_table("signal")
