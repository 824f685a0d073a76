"""Syslog over TLS (RFC 5425): octet counting, the receiver verified by its name, our own certificate shown."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from authority.alerts.sinks import TIMEOUT_S, SinkError, hung_up

DEFAULT_PORT = 6514


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: what the receiver's certificate must chain to, and what we show it; `name` is whom it must be for."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    name: str = ""


class TlsSink:
    """A stream of counted records over TLS 1.2 or later.

    TLS syslog has no reply: delivered means taken by the kernel of a receiver that was verified. One that refuses our
    certificate may say so only after the handshake (RFC 8446, section 4.4.2.4): the first record waits for that.
    """

    def __init__(
        self, host: str, port: int, files: TlsFiles, timeout_s: float = TIMEOUT_S, settle_s: float = 0.2
    ) -> None:
        self._address, self._files, self._timeout_s, self._settle_s = (host, port), files, timeout_s, settle_s
        self._socket: ssl.SSLSocket | None = None
        self.name = f"tls:{host}:{port}"

    def send(self, record: bytes, _key: str = "", /) -> None:
        """Send one counted record, connecting first where needed."""
        try:
            if self._socket is not None and hung_up(self._socket):
                self.close()
            if self._socket is None:
                self._socket = self._connected()
            self._socket.sendall(f"{len(record)} ".encode() + record)
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise SinkError(f"{self.name}: its certificate is refused: {error.verify_message}") from None
        except (OSError, ValueError) as error:
            self.close()
            raise SinkError(f"{self.name}: {_cause(error)}") from None

    def close(self) -> None:
        """Say goodbye and close the connection."""
        if self._socket is not None:
            with contextlib.suppress(OSError, ValueError):
                self._socket.settimeout(0.5)
                self._socket.unwrap()
            self._socket.close()
            self._socket = None

    def _connected(self) -> ssl.SSLSocket:
        context = self._context()
        plain = socket.create_connection(self._address, self._timeout_s)
        try:
            secured = context.wrap_socket(plain, server_hostname=self._files.name or self._address[0])
        except (OSError, ValueError):
            plain.close()
            raise
        try:
            self._settle(secured)
        except OSError:
            secured.close()
            raise
        secured.settimeout(self._timeout_s)
        return secured

    def _settle(self, secured: ssl.SSLSocket) -> None:
        """Wait for a refusal of our certificate, which in TLS 1.3 comes after the handshake; none is the usual case."""
        secured.settimeout(self._settle_s)
        with contextlib.suppress(TimeoutError):
            if secured.recv(1) == b"":
                raise ConnectionResetError("it hung up after the handshake: it may not accept our certificate")

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._files.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._files.certificate is not None:
                context.load_cert_chain(self._files.certificate, self._files.key)
        except OSError as error:
            raise SinkError(f"{self.name}: its certificates cannot be read: {_cause(error)}") from None
        return context


def _cause(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return str(error.reason).replace("_", " ").lower()
    return str(getattr(error, "strerror", None) or error)
