"""Log lines of `serve`."""

from __future__ import annotations

import json
import logging

import pytest

from authority.cli.logs import JsonFormatter, LineFormatter

HOSTILE = 'x"\n2026-01-01 00:00:00 CRITICAL forged\x1b[31m'


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("authority", logging.WARNING, "", 1, message, arguments, None)
    vars(made).update(fields)
    return made


def test_json_lines_are_json_whatever_is_said():
    line = JsonFormatter().format(record("node %s", HOSTILE, cause=HOSTILE, number=3))
    found = json.loads(line)
    assert "\n" not in line
    assert (found["message"], found["cause"], found["number"]) == (f"node {HOSTILE}", HOSTILE, 3)
    assert (found["level"], found["from"]) == ("WARNING", "authority")


def test_what_is_said_forges_no_line():
    line = LineFormatter().format(record("node %s", HOSTILE, cause=HOSTILE))
    assert "\n" not in line and "\x1b" not in line
    assert "cause=" in line and "WARNING node" in line


@pytest.mark.parametrize("formatter", [LineFormatter(), JsonFormatter()])
def test_a_traceback_is_kept(formatter: logging.Formatter):
    try:
        raise ValueError("cause")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (ValueError, error, error.__traceback__)
    assert "ValueError: cause" in formatter.format(made)
