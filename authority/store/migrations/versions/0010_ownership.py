"""Whose a node's TPM is, and its owner's values, wrapped; nobody's is known of nodes from before."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.add_column(sa.Column("ownership", sa.String(length=16), nullable=False, server_default="none"))
    op.create_table(
        "tpm_owner",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("drawn_at", sa.Float(), nullable=False),
        sa.Column("taken_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_tpm_owner_node_id_node")),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_tpm_owner")),
    )


def downgrade() -> None:
    """Revert."""
    op.drop_table("tpm_owner")
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.drop_column("ownership")
