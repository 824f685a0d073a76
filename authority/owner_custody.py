"""Owner authorisation values of TPMs, as they lie wrapped in the database."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, update

from authority.keys.kek import KekProvider
from authority.store import schema
from protocol.codec import length_prefixed


def context(node_id: str) -> bytes:
    """What the wrapped values of a node are bound to."""
    return length_prefixed("keyvigil/tpm-owner/1", node_id)


def rewrap(conn: Connection, old: KekProvider, new: KekProvider) -> int:
    """Put every node's values under another key-encryption key; how many. Raises `KekError`."""
    row = schema.tpm_owner
    found = conn.execute(select(row)).all()
    for each in found:
        bound = context(each.node_id)
        wrapped = new.wrap(old.unwrap(each.wrapped, bound), bound)
        conn.execute(update(row).where(row.c.node_id == each.node_id).values(wrapped=wrapped))
    return len(found)


def count(conn: Connection) -> int:
    """Of how many nodes values are stored."""
    return conn.execute(select(func.count()).select_from(schema.tpm_owner)).scalar_one()
