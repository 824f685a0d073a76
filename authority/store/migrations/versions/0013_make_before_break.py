"""Several epochs alive per source, what each delivery was replaced by, pairs given up; the present epochs are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; what was delivered before counts as replaced by the newest, which is delivered once more."""
    _make_tables()
    # Constants for defaults: anything else makes the batch build the table anew, which rows that refer to it forbid.
    with op.batch_alter_table("network", schema=None) as batch_op:
        batch_op.add_column(sa.Column("look_at", sa.Float(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("pending", sa.Boolean(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("stepped_at", sa.Float(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("settled_at", sa.Float(), nullable=False, server_default="0"))
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.add_column(sa.Column("ended_at", sa.Float()))
        batch_op.create_index("ix_delivery_ended", ["network", "ended_at", "node_id"])
    _carry_over(op.get_bind())
    with op.batch_alter_table("member", schema=None) as batch_op:
        batch_op.add_column(sa.Column("outstanding_since", sa.Float()))
        batch_op.create_index("ix_member_outstanding", ["network", "outstanding_since"])
        batch_op.drop_column("fresh")


def _make_tables() -> None:
    op.create_table(
        "member_epoch",
        sa.Column("network", sa.String(63), sa.ForeignKey("network.name"), primary_key=True),
        sa.Column("node_id", sa.String(64), sa.ForeignKey("node.id"), primary_key=True),
        sa.Column("epoch", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fresh", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
    )
    op.create_table(
        "evicted_pair",
        sa.Column("network", sa.String(63), sa.ForeignKey("network.name"), primary_key=True),
        sa.Column("source", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("destination", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("node_id", sa.String(64), sa.ForeignKey("node.id"), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
    )
    op.create_index("ix_evicted_pair_node_id", "evicted_pair", ["node_id"])


def _carry_over(conn: sa.Connection) -> None:
    member = sa.table("member", *map(sa.column, ("network", "node_id", "epoch", "version", "fresh")))
    columns = ("network", "node_id", "epoch", "version", "generation", "fresh", "created_at", "not_before")
    epoch = sa.table("member_epoch", *map(sa.column, columns))
    meta = sa.table("meta", sa.column("key"), sa.column("value"))
    generation = int(conn.scalar(sa.select(meta.c.value).where(meta.c.key == "generation")) or 1)
    alive = sa.select(*list(member.c)[:4], sa.literal(generation), member.c.fresh, sa.literal(0.0), sa.literal(0.0))
    chosen = alive.where(member.c.version.is_not(None) & (sa.func.length(member.c.fresh) > 0))
    insertion = epoch.insert().from_select(
        ["network", "node_id", "epoch", "version", "generation", "fresh", "created_at", "not_before"], chosen
    )
    conn.execute(insertion)
    sent = sa.table("delivery", *map(sa.column, ("node_id", "network", "number", "issued_at", "ended_at")))
    newer = sent.alias("newer")
    same = (newer.c.node_id == sent.c.node_id) & (newer.c.network == sent.c.network)
    replaced = sa.exists().where(same & (newer.c.number > sent.c.number))
    conn.execute(sa.update(sent).where(replaced).values(ended_at=sent.c.issued_at))


def downgrade() -> None:
    """Revert; every node gets a new epoch."""
    with op.batch_alter_table("member", schema=None) as batch_op:
        batch_op.add_column(sa.Column("fresh", sa.LargeBinary(), nullable=False, server_default=""))
        batch_op.drop_index("ix_member_outstanding")
        batch_op.drop_column("outstanding_since")
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.drop_index("ix_delivery_ended")
        batch_op.drop_column("ended_at")
    with op.batch_alter_table("network", schema=None) as batch_op:
        batch_op.drop_column("settled_at")
        batch_op.drop_column("stepped_at")
        batch_op.drop_column("pending")
        batch_op.drop_column("look_at")
    op.drop_index("ix_evicted_pair_node_id", "evicted_pair")
    op.drop_table("evicted_pair")
    op.drop_table("member_epoch")
