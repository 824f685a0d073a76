"""Reference values that operators review, the newest value of each node's NV counter, and what a challenge proved.

What a node's row held as its reference stays there, as the value that was learned when it joined.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "reference_value",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("origin", sa.Integer(), nullable=True),
        sa.Column("events", sa.Text(), nullable=True),
        sa.Column("first_seen_at", sa.Float(), nullable=True),
        sa.Column("last_seen_at", sa.Float(), nullable=True),
        sa.Column("held_at", sa.Float(), nullable=True),
        sa.Column("decided_at", sa.Float(), nullable=True),
        sa.Column("decided_by", sa.String(length=80), nullable=True),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_reference_value_node_id_node")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reference_value")),
        sa.UniqueConstraint("node_id", "kind", "digest", name=op.f("uq_reference_value_node_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.add_column(sa.Column("nv_counter", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("challenge", schema=None) as batch_op:
        batch_op.add_column(sa.Column("claim", sa.SmallInteger(), nullable=True))


def downgrade() -> None:
    """Revert."""
    with op.batch_alter_table("challenge", schema=None) as batch_op:
        batch_op.drop_column("claim")
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.drop_column("nv_counter")
    op.drop_table("reference_value")
