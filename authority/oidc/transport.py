"""Documents of a provider over HTTPS: its certificate verified, no redirection followed, bounded in size and time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import httpx

FETCH_S = 5.0
DOCUMENT_BYTES = 256 * 1024

Fetch = Callable[[str], Awaitable[bytes]]
"""The document at an `https:` address; raises `FetchFailed`."""

Post = Callable[[str, Mapping[str, str], tuple[str, str] | None], Awaitable[tuple[int, bytes]]]
"""Status and document that a form sent to an `https:` address is answered with; raises `FetchFailed`.

The pair is name and secret of a client (RFC 6749, 2.3.1)."""


class FetchFailed(Exception):
    """A document did not come; `missing` where its place exists, and it does not."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


def https_fetch(ca: Path | None) -> Fetch:
    """Fetches from servers whose certificate chains to `ca` (PEM), or to the system's roots. Read at every use."""

    async def fetch(url: str) -> bytes:
        try:
            context = ssl.create_default_context(cafile=ca)
            async with asyncio.timeout(FETCH_S):
                return await _get(url, context)
        except TimeoutError:
            raise FetchFailed(f"no answer within {FETCH_S:.0f} s") from None
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise FetchFailed(f"{type(error).__name__}: {error}") from None

    return fetch


def https_post(ca: Path | None) -> Post:
    """As `https_fetch`, for a form; the status of the answer is for the caller to judge."""

    async def post(url: str, form: Mapping[str, str], client: tuple[str, str] | None) -> tuple[int, bytes]:
        identity = None if client is None else httpx.BasicAuth(*(quote(part, safe="") for part in client))
        try:
            context = ssl.create_default_context(cafile=ca)
            async with asyncio.timeout(FETCH_S):
                return await _sent(url, form, identity, context)
        except TimeoutError:
            raise FetchFailed(f"no answer within {FETCH_S:.0f} s") from None
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise FetchFailed(f"{type(error).__name__}: {error}") from None

    return post


async def _sent(
    url: str, form: Mapping[str, str], identity: httpx.BasicAuth | None, context: ssl.SSLContext
) -> tuple[int, bytes]:
    headers = {"accept": "application/json"}
    async with (
        httpx.AsyncClient(verify=context, trust_env=False, timeout=FETCH_S) as http,
        http.stream("POST", url, data={**form}, headers=headers, auth=identity) as answer,
    ):
        return answer.status_code, await _bounded(answer)


async def _bounded(answer: httpx.Response) -> bytes:
    document = bytearray()
    async for part in answer.aiter_bytes():
        document += part
        if len(document) > DOCUMENT_BYTES:
            raise FetchFailed(f"its document has more than {DOCUMENT_BYTES} bytes")
    return bytes(document)


async def _get(url: str, context: ssl.SSLContext) -> bytes:
    async with (
        httpx.AsyncClient(verify=context, trust_env=False, timeout=FETCH_S) as http,
        http.stream("GET", url, headers={"accept": "application/json"}) as answer,
    ):
        if answer.status_code != 200:
            raise FetchFailed(f"it answered {answer.status_code}", missing=answer.status_code == 404)
        return await _bounded(answer)
