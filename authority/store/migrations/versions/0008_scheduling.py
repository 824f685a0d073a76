"""When a node last asked for a summons, and the brake; before this there was neither."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("schedule", schema=None) as batch_op:
        batch_op.add_column(sa.Column("checkin_at", sa.Float(), nullable=True))
    op.create_table(
        "brake",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("engaged_at", sa.Float(), nullable=False),
        sa.Column("engaged_by", sa.String(80), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brake")),
    )
    op.create_table(
        "brake_vote",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("brake", sa.Integer(), nullable=False),
        sa.Column("operator", sa.String(63), nullable=False),
        sa.Column("decision", sa.String(8), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_brake_vote")),
    )
    op.create_table(
        "brake_fall",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("node_id", sa.String(64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_brake_fall_node_id_node")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_brake_fall")),
    )


def downgrade() -> None:
    """Revert."""
    for table in ("brake_fall", "brake_vote", "brake"):
        op.drop_table(table)
    with op.batch_alter_table("schedule", schema=None) as batch_op:
        batch_op.drop_column("checkin_at")
