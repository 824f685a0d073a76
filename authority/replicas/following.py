"""What a replica keeps in memory of what another may change: generation and policy; read anew in every transaction.

No decision is made by a policy, or under a generation, that another replica has replaced.
"""

from __future__ import annotations

import logging

import msgspec
from sqlalchemy import Connection, select

from authority import scheduler
from authority.keys import fencing
from authority.runtime import Runtime
from authority.store import StoreUnavailable, postgresql, schema
from authority.trust import Policy

_GENERATION, _KEK, _TIMELINE = "generation", "kek_id", "timeline"
_log = logging.getLogger(__name__)


class Following:
    """To be called first in every transaction (`Store.before`); changes `rt`."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._place: postgresql.Place | None = None
        self._mark = 0

    def __call__(self, conn: Connection) -> bool:
        """Bring the runtime up to date, and tell whether that wrote anything, which is to be committed at once.

        Raises `StoreUnavailable` where this replica lacks the key in force.
        """
        place = postgresql.place_of(conn)
        meta = schema.meta
        wanted = select(meta.c.key, meta.c.value).where(meta.c.key.in_((_GENERATION, _KEK)))
        known: dict[str, str] = {row.key: row.value for row in conn.execute(wanted)}
        if known.get(_KEK) != self._rt.kek.kek_id:
            raise StoreUnavailable(
                "its secrets were put under another key-encryption key",
                "Copy that key to this replica, and start it again.",
            )
        self._follow_generation(int(known.get(_GENERATION, "1")))
        self._follow_policy(conn)
        return place != self._place and self._follow_place(conn, place)

    def note(self, issued: int) -> None:
        """How much the database had issued when it was last looked at (`fencing.issued`)."""
        self._mark = max(self._mark, issued)

    def _follow_generation(self, generation: int) -> None:
        if generation != self._rt.generation:
            _log.warning("another replica began a generation", extra={"generation": generation})
            self._rt.generation = generation

    def _follow_policy(self, conn: Connection) -> None:
        row = schema.policy_version
        newest = conn.execute(select(row.c.seq, row.c.sha256).order_by(row.c.seq.desc()).limit(1)).first()
        if newest is None or newest.sha256 == self._rt.policy.sha256:
            return
        found = conn.execute(select(row).where(row.c.seq == newest.seq)).one()
        try:
            self._rt.policy = msgspec.json.decode(found.settings, type=Policy)
        except msgspec.DecodeError:
            raise StoreUnavailable(
                f"the policy {found.version!r} in force is not one of this version",
                "Run the version of Keyvigil that the other replicas have.",
            ) from None

    def _follow_place(self, conn: Connection, place: postgresql.Place) -> bool:
        """Another server answers, or the same on another timeline: what the last one promised may be lost."""
        before = self._place
        if before is None or before.timeline == place.timeline or self._settled(conn, place.timeline):
            self._place = place
            return False
        self._settle(conn, before, place)
        return True

    def _settle(self, conn: Connection, before: postgresql.Place, place: postgresql.Place) -> None:
        scheduler.note_cut_off(conn, self._rt.now())
        if before.synchronous and fencing.issued(conn) >= self._mark:
            _log.warning("the database failed over", extra={"timeline": place.timeline})
            return
        cause = "the database failed over to a server that may lack what was committed last"
        generation = fencing.begin_generation(conn, self._rt.generation + 1, cause, "authority", self._rt.now())
        self._rt.generation = generation
        _log.error("a new generation begins", extra={"generation": generation, "cause": cause})
        fencing.renew_all(conn, self._rt, self._rt.now())

    @staticmethod
    def _settled(conn: Connection, timeline: str) -> bool:
        """Whether another replica has dealt with this failover; if not, it is as good as done now."""
        meta = schema.meta
        if conn.scalar(select(meta.c.value).where(meta.c.key == _TIMELINE)) == timeline:
            return True
        if conn.execute(meta.update().where(meta.c.key == _TIMELINE).values(value=timeline)).rowcount == 0:
            conn.execute(meta.insert().values(key=_TIMELINE, value=timeline))
        return False
