"""Syslog records as RFC 5424 writes them, safe against text that an attacker chose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

AUTHPRIV = 10
"""Facility of security and authorisation messages (RFC 5424 table 1)."""
AUDIT = 13
"""Facility of log audit messages."""
SD_ID = "keyvigil@32473"
"""Structured-data name under the private enterprise number that RFC 5612 sets aside for documentation."""
MAX_TEXT = 2048
"""Characters of free text and of a parameter value that a record carries at most."""

_BOM = b"\xef\xbb\xbf"
_NOT_PRINTUSASCII = re.compile(r"[^\x21-\x7e]")
_NOT_SD_NAME = re.compile(r'[^\x21-\x7e]|[="\]]')
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


class Severity(StrEnum):
    """How bad it is, by RFC 5424 table 2."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"
    INFO = "info"

    @property
    def code(self) -> int:
        """Numerical severity, 2 to 6."""
        return 2 + [*Severity].index(self)


@dataclass(frozen=True)
class Record:
    """One message before formatting; `at` in POSIX seconds, `data` becomes structured data."""

    at: float
    severity: Severity
    kind: str
    text: str
    data: Mapping[str, object] = field(default_factory=dict)
    facility: int = AUTHPRIV


@dataclass(frozen=True)
class Origin:
    """Who speaks: HOSTNAME, APP-NAME and PROCID of the header."""

    hostname: str
    app: str = "keyvigil-authority"
    procid: str = "-"


def format_record(record: Record, origin: Origin) -> bytes:
    """One RFC 5424 record without a trailing newline; it never contains one either."""
    header = _header(record, origin, _structured_data(record.data))
    return _utf8(header) + b" " + _BOM + _utf8(neutralise(record.text))


def _header(record: Record, origin: Origin, structured: str) -> str:
    return " ".join(
        (
            f"<{record.facility * 8 + record.severity.code}>1",
            _timestamp(record.at),
            _header_field(origin.hostname, 255),
            _header_field(origin.app, 48),
            _header_field(origin.procid, 128),
            _header_field(record.kind, 32),
            structured,
        )
    )


def neutralise(text: str) -> str:
    """`text` on one line, cut to `MAX_TEXT`: control and direction characters become visible stand-ins."""
    return _UNSAFE.sub(_visible, text[:MAX_TEXT])


def wrap_record(record: Record, origin: Origin, body: str) -> bytes:
    """A record whose message is `body`, one line that another format wrote; the fields are in there."""
    header = _header(record, origin, "-")
    return _utf8(header) + b" " + _utf8(body)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def _timestamp(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _header_field(value: str, limit: int) -> str:
    return _NOT_PRINTUSASCII.sub("_", value)[:limit] or "-"


def _structured_data(data: Mapping[str, object]) -> str:
    if not data:
        return "-"
    parameters = "".join(f' {_parameter_name(name)}="{_parameter_value(value)}"' for name, value in data.items())
    return f"[{SD_ID}{parameters}]"


def _parameter_name(name: str) -> str:
    return _NOT_SD_NAME.sub("_", name)[:32] or "_"


def _parameter_value(value: object) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", neutralise(str(value)))
