"""A node hears what any replica decided, wherever it is connected, and hears everything anew after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy import Connection as Transaction
from sqlalchemy import delete, func, select, update

from authority.planes.hub import CloseCode, Connection
from authority.replicas.duties import ALIVE_S
from authority.replicas.relay import KEEP_S, RelayedHub, forget_old
from authority.store import Store, schema
from protocol.messages import Event, LogCheckpoint

STATE = LogCheckpoint(note="the state", certificate=b"")


def checkpoint(number: int) -> LogCheckpoint:
    return LogCheckpoint(note=f"{number}", certificate=b"")


class Hubs:
    """Two replicas' hubs, and what node `n` heard through the one that it is connected to."""

    def __init__(self, stores: tuple[Store, Store]) -> None:
        self.stores = stores
        self.losses = 0
        self.a = RelayedHub(stores[0], "a", "host-a", self._told, self._lose)
        self.b = RelayedHub(stores[1], "b", "host-b", self._told, self._lose)
        self.heard: list[Event] = []

    def _told(self, conn: Transaction, node_id: str) -> list[Event]:
        return [STATE]

    def _lose(self, conn: Transaction) -> None:
        self.losses += 1

    def connection(self) -> Connection:
        return Connection("n", self._take)

    async def _take(self, frame: str) -> None:
        raise AssertionError("nothing writes in these tests")

    def notes(self, connection: Connection) -> list[str]:
        found = []
        while not connection._waiting.empty():
            event = connection._waiting.get_nowait()
            assert isinstance(event, LogCheckpoint)
            found.append(event.note)
        return found


def play(stores: tuple[Store, Store], scene: Callable[[Hubs], Awaitable[None]]) -> None:
    async def run() -> None:
        hubs = Hubs(stores)
        await hubs.a.look()
        await hubs.b.look()
        await hubs.a.look()
        await scene(hubs)

    asyncio.run(run())


def test_a_node_of_the_other_replica_is_told_once_and_in_order(stores: tuple[Store, Store]):
    async def scene(hubs: Hubs) -> None:
        there = hubs.connection()
        with hubs.b.attached(there):
            await hubs.a.push([("n", checkpoint(1)), ("other", checkpoint(9)), ("n", checkpoint(2))])
            await hubs.a.push([("n", checkpoint(3))])
            assert hubs.notes(there) == []
            await hubs.b.look()
            await hubs.b.look()
            assert hubs.notes(there) == ["1", "2", "3"]

    play(stores, scene)


def test_a_node_of_ones_own_is_told_at_once_and_not_again(stores: tuple[Store, Store]):
    async def scene(hubs: Hubs) -> None:
        here = hubs.connection()
        with hubs.a.attached(here):
            await hubs.a.push([("n", checkpoint(1))])
            assert hubs.notes(here) == ["1"]
            await hubs.a.look()
            assert hubs.notes(here) == []

    play(stores, scene)


def test_an_older_connection_to_another_replica_ends(stores: tuple[Store, Store]):
    async def scene(hubs: Hubs) -> None:
        old, new = hubs.connection(), hubs.connection()
        with hubs.a.attached(old):
            await asyncio.gather(*hubs.a._announcing)
            await hubs.b.look()
            with hubs.b.attached(new):
                await asyncio.gather(*hubs.b._announcing)
                await hubs.a.look()
                assert await old.run(asyncio.Event().wait()) is CloseCode.REPLACED
                assert (hubs.a.connected(), hubs.b.connected()) == ([], ["n"])

    play(stores, scene)


def forget_everything(conn: Transaction) -> None:
    conn.execute(delete(schema.push))


def silence_a(conn: Transaction) -> None:
    row = schema.replica
    conn.execute(update(row).where(row.c.id == "a").values(seen_at=row.c.seen_at - ALIVE_S - 1))


def test_when_a_replica_dies_the_others_tell_their_nodes_everything(stores: tuple[Store, Store]):
    """What it had decided and not yet told is in the state."""

    async def scene(hubs: Hubs) -> None:
        there = hubs.connection()
        with hubs.b.attached(there):
            await hubs.b.look()
            assert hubs.notes(there) == []
            stores[1].run(silence_a)
            await hubs.b.look()
            assert (hubs.notes(there), hubs.losses) == (["the state"], 1)
            await hubs.b.look()
            assert (hubs.notes(there), hubs.losses) == ([], 1)

    play(stores, scene)


def test_who_was_cut_off_for_long_tells_its_nodes_everything(stores: tuple[Store, Store]):
    async def scene(hubs: Hubs) -> None:
        there = hubs.connection()
        with hubs.b.attached(there):
            await hubs.a.push([("n", checkpoint(1))])
            stores[0].run(forget_everything)
            hubs.b._looked_at -= KEEP_S
            await hubs.b.look()
            assert hubs.notes(there) == ["the state"]

    play(stores, scene)


def test_old_pushes_are_forgotten_and_new_ones_kept(stores: tuple[Store, Store]):
    async def scene(hubs: Hubs) -> None:
        await hubs.a.push([("n", checkpoint(1)), ("n", checkpoint(2))])
        row = schema.push
        oldest = select(func.min(row.c.id)).scalar_subquery()
        stores[0].run(lambda c: c.execute(update(row).where(row.c.id == oldest).values(at=row.c.at - KEEP_S - 1)))
        stores[0].run(forget_old)
        assert stores[1].run(lambda conn: conn.scalar(select(func.count()).select_from(row))) == 1

    play(stores, scene)
