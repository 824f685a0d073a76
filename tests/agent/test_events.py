from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from agent.config import ConnectionSection
from agent.events import MOST_FLAWED, EventStream
from agent.identity import pinned_context
from protocol.codec import encode
from protocol.levels import Access, Rotation, Tier
from protocol.messages import StatusEvent
from tests.agent.scripted_authority import TestCa, served

SETTINGS = ConnectionSection(timeout_s=5.0, retry_min_s=0.01, retry_max_s=0.02)
STATUS = StatusEvent(state="active", score=950, tier=Tier.HIGH, access=Access.FULL, rotation=Rotation.STANDARD)


async def nothing() -> None:
    """Runs after each connection."""


def test_a_redirection_of_the_event_stream_is_not_followed(tmp_path: Path) -> None:
    """Nor to a server that the CA certified for something else."""
    ca, asked, twice = TestCa(), [], asyncio.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.server(tmp_path))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).split()[1].decode())
        if len(asked) > 1:
            twice.set()
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def follow() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        stream = EventStream(url, lambda: pinned_context(ca.pem), SETTINGS, nothing)
        reading = asyncio.ensure_future(anext(stream.events()))
        await asyncio.wait_for(twice.wait(), 10)
        reading.cancel()
        server.close()

    asyncio.run(follow())
    assert set(asked) == {"/v1/events"}


def test_a_flood_of_frames_that_are_no_events_ends_the_connection(tmp_path: Path) -> None:
    with served(tmp_path) as authority:
        authority.on_connect = [b"{}"] * (MOST_FLAWED + 1) + [encode(STATUS)]

        async def follow() -> None:
            stream = EventStream(authority.url, lambda: pinned_context(authority.ca.pem), SETTINGS, nothing)
            reading = asyncio.ensure_future(anext(stream.events()))
            while authority.connections < 2:
                assert not reading.done(), "the flood was read to its end"
                await asyncio.sleep(0.01)
            authority.on_connect = [STATUS]
            assert await asyncio.wait_for(reading, 10) == STATUS

        asyncio.run(follow())


@pytest.mark.parametrize("flawed", [1, MOST_FLAWED])
def test_a_few_of_them_are_passed_over(tmp_path: Path, flawed: int) -> None:
    """Negative control: an event of a later version does not end the connection."""
    with served(tmp_path) as authority:
        authority.on_connect = [b"{}"] * flawed + [encode(STATUS)]

        async def follow() -> None:
            stream = EventStream(authority.url, lambda: pinned_context(authority.ca.pem), SETTINGS, nothing)
            assert await asyncio.wait_for(anext(stream.events()), 10) == STATUS

        asyncio.run(follow())
        assert authority.connections == 1
