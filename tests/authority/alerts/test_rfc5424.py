"""RFC 5424 records, and text that tries to be more than text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authority.alerts import Origin, Record, Severity, format_record
from authority.alerts.rfc5424 import AUDIT, MAX_TEXT

ORIGIN = Origin("ta1.example", procid="42")
AT = 1_764_000_000.25
GRAMMAR = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([\x21-\x7e]{1,255}) ([\x21-\x7e]{1,48})"
    rb' ([\x21-\x7e]{1,128}) ([\x21-\x7e]{1,32}) (-|\[[^ =\]"]{1,32}(?: [^ =\]"]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\])'
    rb" \xef\xbb\xbf(.*)",
    re.DOTALL,
)


def record(text: str = "n1: isolated", **data: object) -> bytes:
    return format_record(Record(AT, Severity.CRITICAL, "node-isolated", text, data), ORIGIN)


def test_a_whole_record() -> None:
    assert record(score=310, node="n1") == (
        b"<82>1 2025-11-24T16:00:00.250Z ta1.example keyvigil-authority 42 node-isolated "
        b'[keyvigil@32473 score="310" node="n1"] \xef\xbb\xbfn1: isolated'
    )


@pytest.mark.parametrize(
    ("severity", "priority"), [("critical", 82), ("error", 83), ("warning", 84), ("notice", 85), ("info", 86)]
)
def test_priorities_of_authpriv(severity: str, priority: int) -> None:
    assert format_record(Record(AT, Severity(severity), "k", "t"), ORIGIN).startswith(f"<{priority}>1 ".encode())


def test_the_audit_facility() -> None:
    assert format_record(Record(AT, Severity.NOTICE, "k", "t", facility=AUDIT), ORIGIN).startswith(b"<109>1 ")


def test_without_data_the_structured_data_is_nil() -> None:
    assert b" node-isolated - \xef\xbb\xbf" in record()


def test_quotes_backslashes_and_brackets_are_escaped() -> None:
    assert rb'name="a\"b\\c\]d"' in record(name='a"b\\c]d')


INJECTIONS = [
    "x\n<82>1 2025-11-24T16:00:00.250Z ta1.example keyvigil-authority 42 node-released - forged",
    "x\r\nforged",
    "x\x00y",
    "x\x1b[2J\x1b]0;title\x07",
    "x\u2028y\u2029z\x85w",
    "\u202eevil\u2066",
    '"] forged [a@1 b="c',
    "\ud800 lone surrogate",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_chosen_text_stays_one_record(text: str) -> None:
    made = record(text, name=text)
    assert GRAMMAR.fullmatch(made)
    assert not re.search(rb"[\x00-\x1f\x7f]", made)
    decoded = made.decode("utf-8")
    assert not re.search("[\x80-\x9f\u2028\u2029\u202e\u2066]", decoded)


def test_the_plain_text_would_have_been_two_records() -> None:
    assert len(INJECTIONS[0].splitlines()) == 2
    assert len(record(INJECTIONS[0]).splitlines()) == 1


def test_control_characters_stay_visible() -> None:
    assert "a\u240ab\u2421".encode() in record("a\nb\x7f")


def test_long_text_is_cut() -> None:
    assert len(record("x" * 100_000, name="]" * 100_000)) < 4 * MAX_TEXT


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a=b", "a]b", "n\u00e4me", "x" * 40])
def test_a_parameter_name_is_made_to_fit(name: str) -> None:
    assert GRAMMAR.fullmatch(record(**{name: 1}))


def test_a_host_name_with_blanks_cannot_shift_the_header() -> None:
    made = format_record(Record(AT, Severity.INFO, "kind with blanks", "t"), Origin("two words", "", "\n"))
    found = GRAMMAR.fullmatch(made)
    assert found
    assert found[3] == b"two_words"


@given(st.text(), st.dictionaries(st.text(max_size=40), st.text(), max_size=4))
def test_any_text_gives_one_well_formed_record(text: str, data: dict[str, str]) -> None:
    made = format_record(Record(AT, Severity.ERROR, text, text, data), Origin(text, text, text))
    assert GRAMMAR.fullmatch(made)
    assert b"\n" not in made
