"""Join tokens and tickets: their text, and that no error or representation repeats a secret."""

from __future__ import annotations

import pytest

from protocol.codec import ProtocolViolation
from protocol.tokens import JoinToken, Ticket, parse_join_token, parse_ticket
from tests.protocol.vectors import load

V = load("tokens")
SECRET = bytes.fromhex(V["secret"])
JOIN, TICKET = V["join"]["text"], V["ticket"]["text"]


def test_golden_join_token() -> None:
    token = JoinToken(SECRET, V["join"]["ca_sha256"])
    assert token.format() == JOIN
    assert parse_join_token(f"  {JOIN}\n") == token
    assert token.lookup == V["lookup"]


def test_golden_ticket() -> None:
    ticket = Ticket(V["ticket"]["id"], SECRET)
    assert ticket.format() == TICKET
    assert parse_ticket(TICKET) == ticket
    assert ticket.lookup == V["lookup"]


@pytest.mark.parametrize(
    "text", ["", "kvj1.a.b", TICKET, JOIN[:-1], JOIN + "0", JOIN.upper(), JOIN.replace(".", ":"), JOIN + "\n" + JOIN]
)
def test_what_is_no_join_token_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ProtocolViolation) as refused:
        parse_join_token(text)
    assert not text or text not in str(refused.value)


@pytest.mark.parametrize("text", ["", "kvt1.a.b", JOIN, TICKET[:-1], TICKET + "A", TICKET.replace("0", "g", 1)])
def test_what_is_no_ticket_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ProtocolViolation) as refused:
        parse_ticket(text)
    assert not text or text not in str(refused.value)


def test_a_token_with_spare_bits_set_is_refused() -> None:
    """The 43rd character of 32 bytes carries two spare bits: only one spelling is the token."""
    head, secret, tail = JOIN.split(".")
    assert secret[-1] == "M"
    with pytest.raises(ProtocolViolation):
        parse_join_token(f"{head}.{secret[:-1]}N.{tail}")


def test_secrets_are_in_no_representation() -> None:
    for thing in (parse_join_token(JOIN), parse_ticket(TICKET)):
        shown = repr(thing) + str(thing)
        assert JOIN.split(".")[1] not in shown
        assert repr(SECRET) not in shown
        assert SECRET.hex() not in shown
