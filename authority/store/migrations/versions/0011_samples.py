"""Replay tags, the modalities of a profile that have shown any, and where the log says what evidence committed to."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "replay_tag",
        sa.Column("record_id", sa.String(length=32), nullable=False),
        sa.Column("tag", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("record_id", "tag", name=op.f("pk_replay_tag")),
    )
    op.create_index(op.f("ix_replay_tag_at"), "replay_tag", ["at"])
    op.add_column("profile", sa.Column("tagged", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("challenge", sa.Column("evidence_seq", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Revert; what was shown is forgotten."""
    with op.batch_alter_table("challenge", schema=None) as batch_op:
        batch_op.drop_column("evidence_seq")
    with op.batch_alter_table("profile", schema=None) as batch_op:
        batch_op.drop_column("tagged")
    op.drop_table("replay_tag")
