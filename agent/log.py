"""Log lines for people and machines: one line per event, fields apart from the text, control characters neutralised."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, TextIO

LOGGER_NAME = "keyvigil"


def printable(text: object, limit: int = 500) -> str:
    """`text` on one line: control and format characters become U+FFFD, and what exceeds `limit` is cut.

    Everything that came from the network or a device passes through here before a person's terminal sees it.
    """
    raw = str(text)
    shown = "".join(char if char.isprintable() else "\ufffd" for char in raw[:limit])
    return shown if len(raw) <= limit else shown + "…"


def get_logger() -> logging.Logger:
    """The agent's logger."""
    return logging.getLogger(LOGGER_NAME)


def event(level: int, text: str, /, **fields: Any) -> None:
    """Log `text` with `fields`; fields hold names, numbers and states, never samples, keys or tokens."""
    get_logger().log(level, text, extra={"fields": fields})


def setup_logging(level: str, line_format: str, stream: TextIO | None = None) -> None:
    """Send the agent's log to `stream` (standard error) as `plain` text or `json` lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonLines() if line_format == "json" else _PlainLines())
    logger = get_logger()
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return {name: printable(value) if isinstance(value, str) else value for name, value in fields.items()}


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": printable(record.getMessage()),
        }
        return json.dumps(line | _fields(record), default=printable)


class _PlainLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        fields = " ".join(f"{name}={printable(value)}" for name, value in _fields(record).items())
        return f"{stamp} {record.levelname:<7} {printable(record.getMessage())} {fields}".rstrip()
