"""Key versions that can be shredded and have a floor, and endpoints that an operator pinned."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; versions of before stay under the key-encryption key alone until they are destroyed."""
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.add_column(sa.Column("endpoint_pinned", sa.Boolean(), nullable=False, server_default="0"))
    with op.batch_alter_table("network", schema=None) as batch_op:
        batch_op.add_column(sa.Column("floor", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("key_version", schema=None) as batch_op:
        batch_op.add_column(sa.Column("moved_at", sa.Float(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("shred_id", sa.String(length=32), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("shredded_at", sa.Float(), nullable=True))
        batch_op.create_index("ix_key_version_network_state", ["network", "state", "version"], unique=False)
        batch_op.create_index("ix_key_version_state_shredded_at", ["state", "shredded_at"], unique=False)


def downgrade() -> None:
    """Revert; versions that have a shred key of their own cannot be opened afterwards."""
    with op.batch_alter_table("key_version", schema=None) as batch_op:
        batch_op.drop_index("ix_key_version_state_shredded_at")
        batch_op.drop_index("ix_key_version_network_state")
        batch_op.drop_column("shredded_at")
        batch_op.drop_column("shred_id")
        batch_op.drop_column("moved_at")
    with op.batch_alter_table("network", schema=None) as batch_op:
        batch_op.drop_column("floor")
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.drop_column("endpoint_pinned")
