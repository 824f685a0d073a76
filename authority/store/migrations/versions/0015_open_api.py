"""Approvals by a second operator, requests that may be sent again, certificates of operators, the scope `audit`."""

import json
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; whoever could read the audit log goes on doing so."""
    op.create_table(
        "approval",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("target", sa.String(length=255), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.String(length=63), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("decided_by", sa.String(length=63), nullable=False, server_default=""),
        sa.Column("decided_at", sa.Float(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=False, server_default=""),
    )
    op.create_index("ix_approval_state_expires_at", "approval", ["state", "expires_at"])
    op.create_table(
        "repeatable",
        sa.Column("lookup", sa.String(length=64), primary_key=True),
        sa.Column("caller", sa.String(length=63), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("begun_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
    )
    op.create_index("ix_repeatable_caller", "repeatable", ["caller"])
    op.create_index("ix_repeatable_expires_at", "repeatable", ["expires_at"])
    with op.batch_alter_table("operator_token", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.String(length=12), nullable=False, server_default="token"))
    _change_scopes(op.get_bind(), lambda scopes: [*scopes, "audit"] if "read" in scopes else scopes)


def downgrade() -> None:
    """Revert; what waited for a second operator has to be asked for again."""
    conn = op.get_bind()
    conn.execute(sa.text("DELETE FROM operator_token WHERE kind <> 'token'"))
    _change_scopes(conn, lambda scopes: [scope for scope in scopes if scope != "audit"])
    with op.batch_alter_table("operator_token", schema=None) as batch_op:
        batch_op.drop_column("kind")
    op.drop_table("repeatable")
    op.drop_table("approval")


def _change_scopes(conn: sa.Connection, change: Callable[[list[str]], list[str]]) -> None:
    """A row whose scopes cannot be read allows nothing, and stays as it is."""
    token = sa.table("operator_token", sa.column("lookup"), sa.column("scopes"))
    for row in conn.execute(sa.select(token)).all():
        try:
            scopes = json.loads(row.scopes)
        except ValueError:
            continue
        if isinstance(scopes, list):
            values = {"scopes": json.dumps(change(scopes))}
            conn.execute(sa.update(token).where(token.c.lookup == row.lookup).values(**values))
