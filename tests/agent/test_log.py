from __future__ import annotations

import io
import json
import logging

from agent.log import event, printable, setup_logging


def test_control_characters_of_the_other_side_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\u202ed") == "a\ufffd[2Jb\ufffdc\ufffdd"
    assert len(printable("x" * 10_000)) < 600


def test_one_event_is_one_line_in_either_form() -> None:
    for form in ("plain", "json"):
        stream = io.StringIO()
        setup_logging("info", form, stream)
        event(logging.WARNING, "it happened", reason="line\nbreak\x1b[31m", count=3)
        event(logging.DEBUG, "not shown")
        lines = stream.getvalue().splitlines()
        assert len(lines) == 1
        assert "\x1b" not in lines[0]
    line = json.loads(lines[0])
    assert (line["event"], line["count"], line["level"]) == ("it happened", 3, "warning")
