"""The WebSocket on which the authority pushes events; kept open with jittered back-off."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, ProxyError, WebSocketException

from agent.client import LARGEST_ANSWER
from agent.config import ConnectionSection
from agent.errors import StateError
from agent.log import event
from protocol.codec import ProtocolViolation, decode_event
from protocol.messages import Event

PING_S = 20.0
"""Seconds between pings, and how long an answer may take: a dead peer is noticed within two of these."""
FRAMES_AHEAD = 4
"""Frames that may wait unread; what comes beyond them waits at the authority."""
MOST_FLAWED = 16
"""Frames of one connection that are no events: more of them end it, so that a flood meets the back-off."""


class EventStream:
    """Events of one node; `context` gives a TLS context per connection, `connected` runs after each one opens."""

    def __init__(
        self,
        authority: str,
        context: Callable[[], ssl.SSLContext],
        settings: ConnectionSection,
        connected: Callable[[], Awaitable[None]],
    ) -> None:
        self._url = "wss://" + authority.removeprefix("https://").rstrip("/") + "/v1/events"
        self._context = context
        self._settings = settings
        self._connected = connected
        self._delay = settings.retry_min_s

    async def events(self) -> AsyncIterator[Event]:
        """Events for ever; a connection that fails is logged and opened again."""
        while True:
            try:
                async with self._connect() as socket:
                    event(logging.INFO, "connected to the authority", url=self._url)
                    await self._connected()
                    async for message in self._messages(socket):
                        yield message
                event(logging.WARNING, "the authority closed the connection")
            except (OSError, TimeoutError, WebSocketException, StateError, ProtocolViolation) as error:
                event(logging.WARNING, "the connection to the authority failed", error=_cause(error))
            await self._pause()

    def _connect(self) -> Any:
        return _Connect(
            self._url,
            ssl=self._context(),
            open_timeout=self._settings.timeout_s,
            close_timeout=2,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            max_size=LARGEST_ANSWER,
            max_queue=FRAMES_AHEAD,
            compression=None,
            proxy=self._settings.proxy,
        )

    async def _messages(self, socket: ClientConnection) -> AsyncIterator[Event]:
        flawed = 0
        async for frame in socket:
            try:
                message = decode_event(frame, Event)
            except ProtocolViolation as error:
                event(logging.WARNING, "the authority pushed something that is no event", error=str(error))
                flawed += 1
                if flawed > MOST_FLAWED:
                    raise
            else:
                self._delay = self._settings.retry_min_s
                yield message

    async def _pause(self) -> None:
        # Half to all of the delay, so that a fleet does not come back in one instant.
        await asyncio.sleep(self._delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, guards nothing
        self._delay = min(self._delay * 2, self._settings.retry_max_s)


class _Connect(connect):
    """A connection to the authority itself: a redirection is an error, as it is for requests."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """The error as it is."""
        return exc


def _cause(error: BaseException) -> str:
    if isinstance(error, InvalidStatus):
        body = (error.response.body or b"")[:300].decode("utf-8", "replace")
        return f"the authority refused with status {error.response.status_code} {body}"
    if isinstance(error, ProxyError):
        return f"the proxy opened no tunnel: {error}"
    if isinstance(error, InvalidHandshake):
        return f"not a WebSocket: {error}"
    return str(error) or type(error).__name__
