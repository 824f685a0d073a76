"""Connected nodes: what the authority has to tell goes out here, after the transaction that decided it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from enum import IntEnum

from authority.runtime import Push
from protocol.codec import encode
from protocol.levels import NodeState
from protocol.messages import Event, StatusEvent

__all__ = ["CloseCode", "Connection", "Hub", "Push"]

BACKLOG = 256
"""Events that may wait for one node; a node that reads slower is dropped and catches up when it comes back."""
SEND_S = 10.0
_OUT = frozenset({NodeState.BANNED, NodeState.RETIRED})


class CloseCode(IntEnum):
    """Why the authority ends a connection (RFC 6455 §7.4; codes from 4000 are for applications)."""

    LEAVING = 1001
    """The authority stops; the node is to come back."""
    POLICY = 1008
    """The node is banned or retired, or says something where it has nothing to say."""
    BEHIND = 1013
    """The node reads too slowly; it may come back."""
    REPLACED = 4000
    """The node has connected again."""


class Connection:
    """One node's WebSocket, written by a task of its own: `send` takes a text frame."""

    def __init__(self, node_id: str, send: Callable[[str], Awaitable[None]]) -> None:
        self.node_id = node_id
        self._send = send
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(BACKLOG)
        self._dropped = asyncio.Event()
        self._code = CloseCode.POLICY

    def offer(self, event: Event) -> bool:
        """Queue an event without waiting; `False` when the node is too far behind."""
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            return False
        return True

    def drop(self, code: CloseCode) -> None:
        """End `run`, which gives `code`."""
        self._code = code
        self._dropped.set()

    async def run(self, gone: Awaitable[object]) -> CloseCode:
        """Write until the connection is dropped, a frame cannot be sent in time, or `gone` is done.

        A node that is put out for good learns it by a last event. Gives the code to close with.
        """
        ends = [asyncio.ensure_future(each) for each in (self._write(), self._dropped.wait(), gone)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ends:
                each.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        return self._code

    async def _write(self) -> None:
        while True:
            event = await self._waiting.get()
            try:
                async with asyncio.timeout(SEND_S):
                    await self._send(encode(event).decode())
            except TimeoutError:
                return self.drop(CloseCode.BEHIND)
            if isinstance(event, StatusEvent) and event.state in _OUT:
                return self.drop(CloseCode.POLICY)


class Hub:
    """Node id to its newest connection. Used on the event loop's thread only."""

    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}

    def connected(self) -> list[str]:
        """The ids of the connected nodes."""
        return [*self._connections]

    @contextlib.contextmanager
    def attached(self, connection: Connection) -> Iterator[None]:
        """Keep `connection` among the connected; an earlier one of the same node is dropped."""
        self._drop(connection.node_id, CloseCode.REPLACED)
        self._connections[connection.node_id] = connection
        try:
            yield
        finally:
            if self._connections.get(connection.node_id) is connection:
                del self._connections[connection.node_id]

    async def push(self, pushes: Iterable[Push]) -> None:
        """Hand each event to its node, if that is connected; never waits for one."""
        for node_id, event in pushes:
            connection = self._connections.get(node_id)
            if connection is not None and not connection.offer(event):
                self._drop(node_id, CloseCode.BEHIND)

    def close(self) -> None:
        """End every connection, because the authority stops."""
        for node_id in self.connected():
            self._drop(node_id, CloseCode.LEAVING)

    def _drop(self, node_id: str, code: CloseCode) -> None:
        connection = self._connections.pop(node_id, None)
        if connection is not None:
            connection.drop(code)
