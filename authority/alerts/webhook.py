"""Alerts by HTTP POST, signed as Standard Webhooks says (standardwebhooks.com, specification 1.0)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from authority.alerts.sinks import TIMEOUT_S, MessageRefused, SinkError

OF_THE_MESSAGE = frozenset({400, 413, 415, 422})
"""Statuses by which a receiver says that it cannot take this content (RFC 9110, 15.5); others may be of the hour."""
_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64


class WebhookSink:
    """One POST an alert; delivered means answered with 2xx. `key` goes along as `webhook-id`, the same at every try."""

    def __init__(
        self,
        url: str,
        secret: Path,
        *,
        ca: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._secret, self._ca, self._timeout_s, self._now = url, secret, ca, timeout_s, now
        self._client: httpx.Client | None = None
        self.name = f"webhook:{httpx.URL(url).host}"

    def send(self, record: bytes, key: str = "", /) -> None:
        """Post one record; raises `SinkError` for every answer but 2xx, redirections too.

        An answer of `OF_THE_MESSAGE` is of this record alone: `MessageRefused`.
        """
        stamp = str(int(self._now()))
        headers = {
            "content-type": "application/json" if record.startswith(b"{") else "text/plain; charset=utf-8",
            "webhook-id": key,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{signature(self._key(), key, stamp, record)}",
        }
        try:
            answer = self._connection().post(self._url, content=record, headers=headers)
        except httpx.HTTPError as error:
            self.close()
            raise SinkError(f"{self.name}: {type(error).__name__}: {error}") from None
        if answer.status_code // 100 != 2:
            refused = MessageRefused if answer.status_code in OF_THE_MESSAGE else SinkError
            raise refused(f"{self.name}: answered {answer.status_code}")

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connection(self) -> httpx.Client:
        if self._client is None:
            try:
                verify = True if self._ca is None else ssl.create_default_context(cafile=self._ca)
                self._client = httpx.Client(verify=verify, timeout=self._timeout_s, trust_env=False)
            except OSError as error:
                raise SinkError(f"{self.name}: {self._ca}: {error.strerror or error}") from None
        return self._client

    def _key(self) -> bytes:
        return webhook_key(self._secret)


def webhook_key(file: Path) -> bytes:
    """The 24 to 64 bytes behind `whsec_` in a file that its owner alone reads; raises `SinkError`."""
    try:
        mode, text = file.stat().st_mode, file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SinkError(f"{file}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    if mode & 0o077:
        raise SinkError(f"{file} is open to others: run `chmod 600 {file}`")
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(_PREFIX) or not _SHORTEST <= len(key) <= _LONGEST:
        raise SinkError(f"{file} holds no webhook secret: write whsec_ and base64 of 24 to 64 random bytes")
    return key


def signature(key: bytes, message_id: str, stamp: str, body: bytes) -> str:
    """Base64 of HMAC-SHA256 over `id.timestamp.body`."""
    signed = f"{message_id}.{stamp}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
