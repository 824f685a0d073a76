"""Sessions of the web console, and an index for the audit records of one node."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "console_session",
        sa.Column("lookup", sa.String(length=64), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["token"], ["operator_token.lookup"], name=op.f("fk_console_session_token_operator_token")
        ),
        sa.PrimaryKeyConstraint("lookup", name=op.f("pk_console_session")),
    )
    op.create_index(op.f("ix_console_session_token"), "console_session", ["token"])
    op.create_index("ix_audit_node_id_seq", "audit", ["node_id", "seq"])


def downgrade() -> None:
    """Revert; everybody is signed out."""
    op.drop_index("ix_audit_node_id_seq", "audit")
    op.drop_table("console_session")
