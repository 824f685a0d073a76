"""Counts decisions from the audit log: what was committed, each once, with no counter in the code that decides."""

from __future__ import annotations

import json
from collections import Counter

from sqlalchemy import Connection, func, select

from authority.store import schema

PAGE = 2000
UNDECIDED = "undecided"
_CLOSED = {"presentation", UNDECIDED}


class DecisionCounter:
    """Reads the records above a sequence number, which begins at the end of the log.

    Replicas of one authority count the same records, each from its own start: take the greatest, not the sum.
    """

    def __init__(self) -> None:
        self._after: int | None = None

    def read(self, conn: Connection) -> tuple[Counter[str], Counter[str]]:
        """Kinds of the records since the last call, and outcomes of challenges among them."""
        row = schema.audit
        kinds: Counter[str] = Counter()
        outcomes: Counter[str] = Counter()
        if self._after is None:
            self._after = conn.scalar(select(func.max(row.c.seq))) or 0
        while True:
            query = select(row.c.seq, row.c.kind, row.c.data).where(row.c.seq > self._after)
            page = conn.execute(query.order_by(row.c.seq).limit(PAGE)).all()
            for each in page:
                kinds[each.kind] += 1
                if each.kind in _CLOSED:
                    outcomes[_outcome(each.kind, each.data)] += 1
            self._after = page[-1].seq if page else self._after
            if len(page) < PAGE:
                return kinds, outcomes


def _outcome(kind: str, data: str) -> str:
    return kind if kind == UNDECIDED else str(json.loads(data)["kind"])
