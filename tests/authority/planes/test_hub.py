"""The hub alone: who is told, who is replaced, and who is dropped; frames go into lists."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from authority.planes.hub import BACKLOG, CloseCode, Connection, Hub
from protocol.codec import decode
from protocol.levels import Access, Rotation, Tier
from protocol.messages import DeliveryEvent, Event, StatusEvent


def delivery(number: int) -> DeliveryEvent:
    return DeliveryEvent(number=number, envelope=b"")


def status(state: str) -> StatusEvent:
    return StatusEvent(state=state, score=0, tier=Tier.LOW, access=Access.RESTRICTED, rotation=Rotation.VERY_FAST)


class Listener:
    """A node's end: what it was sent, and what ended it."""

    def __init__(self, hub: Hub, node_id: str, *, reads: bool = True) -> None:
        self.heard: asyncio.Queue[Event] = asyncio.Queue()
        self.connection = Connection(node_id, self._hear if reads else self._stand_still)
        self.left = asyncio.Event()
        self.attached = asyncio.Event()
        self.ended = asyncio.ensure_future(self._run(hub))

    async def _hear(self, text: str) -> None:
        self.heard.put_nowait(decode(text, Event))

    async def _stand_still(self, text: str) -> None:
        await asyncio.Event().wait()

    async def _run(self, hub: Hub) -> CloseCode:
        with hub.attached(self.connection):
            self.attached.set()
            return await self.connection.run(self.left.wait())


def play(scene: Callable[[Hub], Awaitable[None]]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(20):
            await scene(Hub())

    asyncio.run(timed())


async def join(hub: Hub, node_id: str, *, reads: bool = True) -> Listener:
    listener = Listener(hub, node_id, reads=reads)
    await listener.attached.wait()
    return listener


def test_events_reach_their_node_in_order_and_nobody_else() -> None:
    async def scene(hub: Hub) -> None:
        one, two = await join(hub, "1"), await join(hub, "2")
        await hub.push([("1", delivery(1)), ("3", delivery(9)), ("1", delivery(2)), ("2", delivery(3))])
        assert [await one.heard.get(), await one.heard.get()] == [delivery(1), delivery(2)]
        assert await two.heard.get() == delivery(3)
        assert one.heard.empty()

    play(scene)


def test_the_connected_are_those_who_have_not_left() -> None:
    async def scene(hub: Hub) -> None:
        one, _two = await join(hub, "1"), await join(hub, "2")
        assert hub.connected() == ["1", "2"]
        one.left.set()
        await one.ended
        assert hub.connected() == ["2"]

    play(scene)


def test_a_second_connection_replaces_the_first() -> None:
    async def scene(hub: Hub) -> None:
        first, second = await join(hub, "1"), await join(hub, "1")
        assert await first.ended is CloseCode.REPLACED
        await hub.push([("1", delivery(1))])
        assert await second.heard.get() == delivery(1)
        assert hub.connected() == ["1"]

    play(scene)


def test_a_slow_node_is_dropped_and_holds_nobody_up() -> None:
    async def scene(hub: Hub) -> None:
        slow, quick = await join(hub, "slow", reads=False), await join(hub, "quick")
        for number in range(BACKLOG + 2):
            await hub.push([("slow", delivery(number)), ("quick", delivery(number))])
            assert await quick.heard.get() == delivery(number)
        assert hub.connected() == ["quick"]
        assert await slow.ended is CloseCode.BEHIND

    play(scene)


def test_a_node_just_within_the_backlog_is_kept() -> None:
    """The control to the test above: as many events as may wait are no reason to be dropped."""

    async def scene(hub: Hub) -> None:
        await join(hub, "slow", reads=False)
        await hub.push([("slow", delivery(number)) for number in range(BACKLOG)])
        assert hub.connected() == ["slow"]

    play(scene)


def test_a_node_put_out_for_good_hears_that_last() -> None:
    async def scene(hub: Hub) -> None:
        listener = await join(hub, "1")
        await hub.push([("1", status("isolated")), ("1", status("banned")), ("1", delivery(1))])
        assert await listener.ended is CloseCode.POLICY
        assert [listener.heard.get_nowait() for _ in range(listener.heard.qsize())] == [
            status("isolated"),
            status("banned"),
        ]

    play(scene)
