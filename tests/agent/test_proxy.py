"""Through an HTTP proxy to the authority: its tunnel carries requests and events, and TLS ends at the authority."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agent.client import AuthorityClient
from agent.config import ConnectionSection, parse_config
from agent.diagnostics.authority import ask
from agent.errors import AuthorityUnreachable, ConfigError
from agent.events import EventStream
from agent.identity import pinned_context
from protocol.levels import Access, Rotation, Tier
from protocol.messages import StatusEvent
from tests.agent.scripted_authority import ScriptedAuthority, TestCa, served
from tests.agent.test_config import COMPLETE
from tests.agent.tunnel import Tunnel, tunnelling

STATUS = StatusEvent(state="active", score=950, tier=Tier.HIGH, access=Access.FULL, rotation=Rotation.STANDARD)


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[ScriptedAuthority]:
    with served(tmp_path) as found:
        yield found


async def nothing() -> None:
    """Runs after each connection."""


def settings(proxy: Tunnel) -> ConnectionSection:
    return ConnectionSection(timeout_s=5.0, retry_min_s=0.01, retry_max_s=0.02, proxy=proxy.url)


def stream_of(authority: ScriptedAuthority, proxy: Tunnel, ca: TestCa | None = None) -> EventStream:
    context = pinned_context((ca or authority.ca).pem)
    return EventStream(authority.url, lambda: context, settings(proxy), nothing)


def test_requests_and_events_pass_through_it_unread(authority: ScriptedAuthority) -> None:
    authority.on_connect = [STATUS]
    pinned = pinned_context(authority.ca.pem)
    with tunnelling() as proxy:
        with AuthorityClient(authority.url, pinned, 5.0, proxy.url) as client:
            assert client.ca() == authority.ca.pem
        assert asyncio.run(_first(stream_of(authority, proxy))) == STATUS
        assert ask(authority.url, pinned, 5.0, lambda: 0.0, proxy.url).seconds >= 0
    place = urlsplit(authority.url).netloc
    assert proxy.asked == [f"CONNECT {place} HTTP/1.1"] * 3
    assert len(proxy.passed) > 1000
    assert b"/v1/" not in proxy.passed


def test_nothing_goes_around_it(authority: ScriptedAuthority) -> None:
    """Negative control: a proxy that leads nowhere leaves the node without its authority."""
    with tunnelling(to=("127.0.0.1", 9)) as proxy:
        with (
            AuthorityClient(authority.url, pinned_context(authority.ca.pem), 5.0, proxy.url) as client,
            pytest.raises(AuthorityUnreachable),
        ):
            client.ca()
        with pytest.raises(TimeoutError):
            asyncio.run(_first(stream_of(authority, proxy), 0.5))
    assert authority.requests == []
    assert authority.connections == 0


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"])
def test_one_that_refuses_is_named_with_the_remedy(
    authority: ScriptedAuthority, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    with tunnelling(refusal=status) as proxy:
        with (
            AuthorityClient(authority.url, pinned_context(authority.ca.pem), 5.0, proxy.url) as client,
            pytest.raises(AuthorityUnreachable, match="opened no tunnel") as failure,
        ):
            client.ca()
        with caplog.at_level(logging.WARNING), pytest.raises(TimeoutError):
            asyncio.run(_first(stream_of(authority, proxy), 0.5))
    assert failure.value.remedy is not None
    assert "connection.proxy" in failure.value.remedy
    assert not failure.value.sent
    told = [getattr(record, "fields", {}).get("error", "") for record in caplog.records]
    assert any("opened no tunnel" in each for each in told)


def test_one_that_ends_tls_itself_is_not_the_authority(authority: ScriptedAuthority, tmp_path: Path) -> None:
    """Decision 0080: what could break the upgrade to a WebSocket is refused before it sees one."""
    (tmp_path / "other").mkdir()
    with served(tmp_path / "other") as middle:
        place = urlsplit(middle.url)
        assert place.hostname
        assert place.port
        with tunnelling(to=(place.hostname, place.port)) as proxy:
            with (
                AuthorityClient(authority.url, pinned_context(authority.ca.pem), 5.0, proxy.url) as client,
                pytest.raises(AuthorityUnreachable, match="certificate"),
            ):
                client.ca()
            with pytest.raises(TimeoutError):
                asyncio.run(_first(stream_of(authority, proxy), 0.5))
            assert asyncio.run(_first(stream_of(authority, proxy, middle.ca), 0.5, middle)) == STATUS
    assert middle.requests == []
    assert authority.connections == 0


def test_the_environment_names_none(authority: ScriptedAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.on_connect = [STATUS]
    with tunnelling(refusal="403 Forbidden") as proxy:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        with AuthorityClient(authority.url, pinned_context(authority.ca.pem), 5.0) as client:
            client.ca()
        direct = ConnectionSection(timeout_s=5.0)
        stream = EventStream(authority.url, lambda: pinned_context(authority.ca.pem), direct, nothing)
        assert asyncio.run(_first(stream)) == STATUS
    assert proxy.asked == []


@pytest.mark.parametrize(
    "given",
    [
        '"proxy.example:3128"',
        '"https://proxy.example"',
        '"http://a:secret@proxy.example"',
        '"http://p/way"',
        '"http://"',
        "7",
    ],
)
def test_what_is_no_proxy_is_refused_before_anything_starts(given: str) -> None:
    with pytest.raises(ConfigError, match=r"connection\.proxy") as refused:
        parse_config(configured(given))
    assert "secret" not in str(refused.value)


def test_what_is_one_is_taken() -> None:
    """Negative control."""
    assert parse_config(configured('"http://proxy.example:3128"')).connection.proxy


def configured(proxy: str) -> bytes:
    """A configuration with such a proxy."""
    return f"{COMPLETE}\n[connection]\nproxy = {proxy}\n".encode()


async def _first(stream: EventStream, seconds: float = 10.0, serving: ScriptedAuthority | None = None) -> object:
    """The first event; raises `TimeoutError` where none comes."""
    if serving is not None:
        serving.on_connect = [STATUS]
    events = stream.events()
    try:
        return await asyncio.wait_for(anext(events), seconds)
    finally:
        await events.aclose()
