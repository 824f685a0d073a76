"""A ledger of every alert destination, repeats counted instead of told, and acknowledgements."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_CURSOR = "alert-cursor/"


def upgrade() -> None:
    """Apply; where the destinations of before stood, they go on."""
    op.create_table(
        "alert_destination",
        sa.Column("name", sa.String(length=255), primary_key=True),
        sa.Column("cursor", sa.Integer(), nullable=False),
        sa.Column("sent", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("failed", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("dropped", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("last_sent_at", sa.Float(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False, server_default=""),
        sa.Column("last_error_at", sa.Float(), nullable=True),
    )
    with op.batch_alter_table("alert", schema=None) as batch_op:
        batch_op.add_column(sa.Column("repeats", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("last_at", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("acknowledged_at", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("acknowledged_by", sa.String(length=80), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("acknowledgement", sa.Text(), nullable=False, server_default=""))
    _move_cursors(op.get_bind())


def _move_cursors(conn: sa.Connection) -> None:
    meta = sa.table("meta", sa.column("key"), sa.column("value"))
    ledger = sa.table("alert_destination", sa.column("name"), sa.column("cursor"))
    for row in conn.execute(sa.select(meta).where(meta.c.key.startswith(_CURSOR, autoescape=True))).all():
        if row.value.isdecimal():
            values = {"name": row.key.removeprefix(_CURSOR)[:255], "cursor": int(row.value)}
            conn.execute(sa.insert(ledger).values(**values))
        conn.execute(sa.delete(meta).where(meta.c.key == row.key))


def downgrade() -> None:
    """Revert; destinations begin anew with the alerts that were not delivered everywhere."""
    with op.batch_alter_table("alert", schema=None) as batch_op:
        for column in ("acknowledgement", "acknowledged_by", "acknowledged_at", "last_at", "repeats"):
            batch_op.drop_column(column)
    op.drop_table("alert_destination")
