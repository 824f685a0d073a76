"""Alerts into the journal of this machine, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

from __future__ import annotations

import re
import socket
import struct

from authority.alerts.sinks import TIMEOUT_S, too_long

SOCKET = "/run/systemd/journal/socket"


class JournaldSink:
    """One datagram an alert: the record as MESSAGE, its key as KEYVIGIL_ALERT."""

    def __init__(self, path: str = SOCKET, timeout_s: float = TIMEOUT_S) -> None:
        self._path, self._timeout_s = path, timeout_s
        self.name = "journald"

    def send(self, record: bytes, key: str = "", /) -> None:
        """Send one entry, with the severity of the record's PRI part (RFC 5424, section 6.2.1) as its priority."""
        fields = {
            "MESSAGE": record,
            "PRIORITY": priority(record),
            "SYSLOG_IDENTIFIER": b"keyvigil-authority",
            "KEYVIGIL_ALERT": key.encode(),
        }
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(self._timeout_s)
                sender.connect(self._path)
                sender.send(b"".join(entry(name, value) for name, value in fields.items()))
        except OSError as error:
            raise too_long("journald", error) from None

    def close(self) -> None:
        """Nothing is held open."""


def priority(record: bytes) -> bytes:
    """Severity of a syslog record, that of a warning where there is none."""
    found = re.match(rb"<(\d{1,3})>", record)
    return str(int(found[1]) % 8 if found else 4).encode()


def entry(name: str, value: bytes) -> bytes:
    """A field with its length in front, which no content of it can end early."""
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
