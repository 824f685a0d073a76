"""Where nodes are reached, what their data planes offer, and a slot for the SPI of every membership."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; memberships of before get slots in the order of their keys."""
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.add_column(sa.Column("endpoint", sa.String(length=45), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("wireguard_public", sa.LargeBinary(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("wireguard_port", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("member", schema=None) as batch_op:
        batch_op.add_column(sa.Column("slot", sa.Integer(), nullable=False, server_default="0"))
    _number_members(op.get_bind())


def _number_members(conn: sa.Connection) -> None:
    member = sa.table("member", sa.column("network"), sa.column("node_id"), sa.column("slot"))
    meta = sa.table("meta", sa.column("key"), sa.column("value"))
    rows = conn.execute(sa.select(member.c.network, member.c.node_id).order_by(*member.c)).all()
    for slot, row in enumerate(rows, 1):
        mine = (member.c.network == row.network) & (member.c.node_id == row.node_id)
        conn.execute(sa.update(member).where(mine).values(slot=slot))
    if rows:
        conn.execute(sa.insert(meta).values(key="next_slot", value=str(len(rows) + 1)))


def downgrade() -> None:
    """Revert."""
    meta = sa.table("meta", sa.column("key"))
    op.execute(sa.delete(meta).where(meta.c.key == "next_slot"))
    with op.batch_alter_table("member", schema=None) as batch_op:
        batch_op.drop_column("slot")
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.drop_column("wireguard_port")
        batch_op.drop_column("wireguard_public")
        batch_op.drop_column("endpoint")
