"""The audit log's hash chain becomes a Merkle tree, whose leaves are the rows as they are.

Records written down as the first version of the tree has them: what `authority.audit` becomes later does not change
what was migrated. The end of the chain, and whether the chain held, goes into the tree as a record of its own, so that
a chain that somebody had broken does not pass for sound from now on.
"""

import hashlib
import json
import struct
import time

import sqlalchemy as sa
from alembic import op

from protocol.codec import length_prefixed
from protocol.merkle import completed, leaf_hash

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_LOG_NODE = sa.table("log_node", sa.column("level"), sa.column("position"), sa.column("hash"))


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "log_node",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_log_node")),
    )
    op.create_table(
        "log_checkpoint",
        sa.Column("size", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_log_checkpoint")),
    )
    _move_records(op.get_bind())
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_column("hash")
        batch_op.drop_column("previous")


def downgrade() -> None:
    """Revert; the chain cannot be made again."""
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.add_column(sa.Column("previous", sa.String(64), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("hash", sa.String(64), nullable=False, server_default=""))
    op.drop_table("log_checkpoint")
    op.drop_table("log_node")


def _move_records(conn: sa.Connection) -> None:
    rows = conn.exec_driver_sql("SELECT seq, at, kind, actor, node_id, data, previous, hash FROM audit ORDER BY seq")
    previous, index, broken_at = "0" * 64, 0, None
    for seq, at, kind, actor, node_id, data, before, chained in rows.fetchall():
        index += 1
        wanted = _chained(seq, at, kind, actor, node_id, data, before)
        if broken_at is None and (seq != index or before != previous or chained != wanted):
            broken_at = seq
        if seq != index:
            conn.execute(sa.text("UPDATE audit SET seq = :index WHERE seq = :seq"), {"index": index, "seq": seq})
        _append(conn, index, at, kind, actor, node_id, data)
        previous = chained
    kept = conn.exec_driver_sql("SELECT value FROM meta WHERE key = 'audit-head'").scalar()
    if index and broken_at is None and kept != f"{index}:{previous}":
        broken_at = index + 1
    conn.exec_driver_sql("DELETE FROM meta WHERE key = 'audit-head'")
    if index:
        _note_migration(conn, index, {"records": index, "head": previous, "broken_at": broken_at})


def _note_migration(conn: sa.Connection, index: int, found: dict[str, object]) -> None:
    said = (time.time(), "log-migrated", "authority", None, json.dumps(found, sort_keys=True, separators=(",", ":")))
    columns = ("seq", "at", "kind", "actor", "node_id", "data")
    audit = sa.table("audit", *map(sa.column, (*columns, "previous", "hash")))
    values = dict(zip(columns, (index + 1, *said), strict=True))
    conn.execute(sa.insert(audit).values(**values, previous="", hash=""))
    _append(conn, index + 1, *said)


def _append(conn: sa.Connection, seq: int, at: float, kind: str, actor: str, node_id: str | None, data: str) -> None:
    def node(level: int, position: int) -> bytes:
        wanted = (_LOG_NODE.c.level == level) & (_LOG_NODE.c.position == position)
        return bytes(conn.execute(sa.select(_LOG_NODE.c.hash).where(wanted)).scalar_one())

    leaf = leaf_hash(length_prefixed("keyvigil/audit/2", seq, *_fields(at, kind, actor, node_id, data)))
    for at_level, position, value in completed(seq - 1, leaf, node):
        conn.execute(sa.insert(_LOG_NODE).values(level=at_level, position=position, hash=value))


def _chained(seq: int, at: float, kind: str, actor: str, node_id: str | None, data: str, previous: str) -> str:
    record = length_prefixed("keyvigil/audit/1", seq, *_fields(at, kind, actor, node_id, data), previous)
    return hashlib.sha256(record).hexdigest()


def _fields(at: float, kind: str, actor: str, node_id: str | None, data: str) -> list[bytes | str]:
    node = b"\x00" if node_id is None else b"\x01" + node_id.encode()
    return [struct.pack(">d", at), kind, actor, node, data]
