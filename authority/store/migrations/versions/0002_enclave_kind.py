"""The kind of enclave that a node joined with; every node before this was a TPM."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.add_column(sa.Column("enclave_kind", sa.String(length=16), nullable=False, server_default="tpm2"))


def downgrade() -> None:
    """Revert."""
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.drop_column("enclave_kind")
