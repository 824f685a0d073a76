"""Persons whom the site's identity provider vouches for; attestation results as they were issued, and who gets them."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None
_COUNTS = ("cursor", "sent", "failed", "dropped")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "oidc_person",
        sa.Column("name", sa.String(length=63), primary_key=True),
        sa.Column("provider", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("stands_until", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.Column("revoked_by", sa.String(length=63), nullable=False, server_default=""),
    )
    op.create_table(
        "attestation_result",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("ear", sa.Text(), nullable=False),
        sa.Column("delivered_at", sa.Float(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_attestation_result_at", "attestation_result", ["at"])
    op.create_index("ix_attestation_result_node_id_id", "attestation_result", ["node_id", "id"])
    op.create_index("ix_attestation_result_delivered_at_id", "attestation_result", ["delivered_at", "id"])
    counts = [sa.Column(name, sa.Integer(), nullable=False, server_default="0") for name in _COUNTS]
    op.create_table(
        "result_subscriber",
        sa.Column("name", sa.String(length=255), primary_key=True),
        *counts,
        sa.Column("last_sent_at", sa.Float(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False, server_default=""),
        sa.Column("last_error_at", sa.Float(), nullable=True),
    )


def downgrade() -> None:
    """Revert; whoever was shut out is let in again by the provider's word."""
    op.drop_table("result_subscriber")
    op.drop_index("ix_attestation_result_delivered_at_id", "attestation_result")
    op.drop_index("ix_attestation_result_node_id_id", "attestation_result")
    op.drop_index("ix_attestation_result_at", "attestation_result")
    op.drop_table("attestation_result")
    op.drop_table("oidc_person")
