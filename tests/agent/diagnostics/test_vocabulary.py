from __future__ import annotations

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.diagnostics.logtail import safe_line
from agent.diagnostics.vocabulary import LEFT_OUT, NUMBER, Vocabulary, own_vocabulary

SMALL = Vocabulary(["device", "went", "away", "the", "error"])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("the device went away", "the device went away"),
        ("The DEVICE, went: away.", "The DEVICE, went: away."),
        ("the hunter2 went", f"the {LEFT_OUT} went"),
        ("the secret words went away", f"the {LEFT_OUT} went away"),
        ("error=12 1,2,3 -5", f"{LEFT_OUT} {NUMBER} {NUMBER}"),
        ("device4711", LEFT_OUT),
        ("the-device", "the-device"),
        ("the-hunter", LEFT_OUT),
        ("", ""),
        ("!!!!", LEFT_OUT),
        ("the\x1b[2Jdevice", LEFT_OUT),
    ],
)
def test_unknown_words_and_numbers_do_not_pass(text: str, left: str) -> None:
    assert SMALL.cut(text) == left


@settings(deadline=None, max_examples=300)
@given(st.text(string.ascii_letters + string.digits + "+/=_-.,:;[]'\" ", max_size=80))
def test_what_passes_is_made_of_known_words(text: str) -> None:
    left = SMALL.cut(text)
    assert not any(char.isdigit() for char in left)
    letters = "".join(char if char.isalpha() else " " for char in left).split()
    assert all(word in SMALL for word in letters)


def test_our_own_sentences_pass() -> None:
    said = "the authority closed the connection"
    assert own_vocabulary().cut(said) == said
    assert own_vocabulary().cut("No space left on device") == "No space left on device"


@settings(deadline=None, max_examples=300)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_any_value_in_a_log_line_is_survived(value: object) -> None:
    line = json.dumps({"at": 1, "level": "info", "event": "device", "error": value, "total": value})
    safe_line(line, SMALL)
    safe_line(json.dumps(value), SMALL)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_line_is_survived(data: bytes) -> None:
    safe_line(data.decode("utf-8", "replace"), SMALL)
