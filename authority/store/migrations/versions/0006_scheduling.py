"""When a node last asked for a summons, the brake, and challenge groups; before this there were none."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("schedule", schema=None) as batch_op:
        batch_op.add_column(sa.Column("checkin_at", sa.Float(), nullable=True))
    with op.batch_alter_table("presentation", schema=None) as batch_op:
        batch_op.add_column(sa.Column("shared", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("challenge", schema=None) as batch_op:
        batch_op.add_column(sa.Column("shared", sa.Text(), nullable=True))
    op.create_table(
        "challenge_group",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("sensor_node_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["sensor_node_id"], ["node.id"], name=op.f("fk_challenge_group_sensor_node_id_node")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_challenge_group")),
    )
    op.create_table(
        "group_member",
        sa.Column("node_id", sa.String(64), nullable=False),
        sa.Column("group", sa.String(63), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_group_member_node_id_node")),
        sa.ForeignKeyConstraint(
            ["group"], ["challenge_group.name"], name=op.f("fk_group_member_group_challenge_group")
        ),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_group_member")),
    )
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
    for table in ("brake_fall", "brake_vote", "brake", "group_member", "challenge_group"):
        op.drop_table(table)
    for name in ("challenge", "presentation"):
        with op.batch_alter_table(name, schema=None) as batch_op:
            batch_op.drop_column("shared")
    with op.batch_alter_table("schedule", schema=None) as batch_op:
        batch_op.drop_column("checkin_at")
