"""Bytes on the wire: strict JSON, base64url, length-prefixed encoding."""

from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import (
    ProtocolViolation,
    b64url,
    decode,
    decode_event,
    encode,
    length_prefixed,
    transcript,
    unb64url,
)
from protocol.levels import Access, Rotation, Tier
from protocol.messages import AttestRequest, DeliveryEvent, Event, Nonce, StatusEvent, Summons
from tests.protocol.vectors import load, part

VECTORS = load("codec")
parts = st.lists(st.one_of(st.binary(max_size=20), st.text(max_size=20), st.integers(0, 2**64 - 1)), max_size=6)


@pytest.mark.parametrize("case", VECTORS["length_prefixed"])
def test_length_prefixed(case: dict) -> None:
    assert length_prefixed(*map(part, case["parts"])).hex() == case["hex"]


@pytest.mark.parametrize("case", VECTORS["transcript"])
def test_transcript(case: dict) -> None:
    assert transcript(case["label"], *map(part, case["parts"])).hex() == case["hex"]


def as_bytes(value: bytes | str | int) -> bytes:
    return value.to_bytes(8, "big") if isinstance(value, int) else value.encode() if isinstance(value, str) else value


@given(parts, parts)
def test_different_lists_of_parts_give_different_bytes(one: list, other: list) -> None:
    same = [as_bytes(each) for each in one] == [as_bytes(each) for each in other]
    assert (length_prefixed(*one) == length_prefixed(*other)) is same


def test_plain_concatenation_would_not_tell_them_apart() -> None:
    assert b"ab" + b"c" == b"a" + b"bc"
    assert length_prefixed("ab", "c") != length_prefixed("a", "bc")


@pytest.mark.parametrize("value", [-1, 2**64])
def test_an_integer_beyond_u64_is_an_error(value: int) -> None:
    with pytest.raises(ProtocolViolation, match="64 bits"):
        length_prefixed(value)


@pytest.mark.parametrize("case", VECTORS["base64url"])
def test_base64url(case: dict) -> None:
    assert b64url(bytes.fromhex(case["hex"])) == case["text"]
    assert unb64url(case["text"]).hex() == case["hex"]


@pytest.mark.parametrize("text", VECTORS["base64url_refused"])
def test_base64url_that_is_none(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        unb64url(text)


@given(st.binary(max_size=100))
def test_base64url_goes_there_and_back(data: bytes) -> None:
    assert unb64url(b64url(data)) == data


@given(st.text(max_size=30))
def test_every_accepted_text_is_the_only_one_for_its_bytes(text: str) -> None:
    try:
        data = unb64url(text)
    except ProtocolViolation:
        return
    assert b64url(data) == text


NONCE = Nonce(nonce=b"\x00\xff", pcr_selection=[0, 7], expires_at=1.5)


def test_messages_encode_with_sorted_keys() -> None:
    assert encode(NONCE) == b'{"expires_at":1.5,"nonce":"AP8=","pcr_selection":[0,7]}'
    assert decode(encode(NONCE), Nonce) == NONCE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"nonce":"AP8=","pcr_selection":[0]}',
        b'{"nonce":"AP8=","pcr_selection":[0],"expires_at":1,"more":1}',
        b'{"nonce":"AP8=","pcr_selection":["0"],"expires_at":1}',
        b'{"nonce":"***","pcr_selection":[0],"expires_at":1}',
        b'{"nonce":1,"pcr_selection":[0],"expires_at":1}',
        b'{"nonce":"AP8=","pcr_selection":[0],"expires_at":"1"}',
        b"[" * 100_000,
    ],
)
def test_anything_else_than_the_message_is_refused_in_one_way(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode(data, Nonce)


@given(st.binary(max_size=200))
def test_garbage_never_surfaces_as_anything_else(data: bytes) -> None:
    with contextlib.suppress(ProtocolViolation):
        decode(data, Nonce)


EVENTS = [
    Summons(challenge_id="c", roster=[], modalities=["face"], reason="scheduled", expires_at=1.0),
    AttestRequest(nonce=b"n", pcr_selection=[0], expires_at=1.0),
    DeliveryEvent(number=1, envelope=b"e"),
    StatusEvent(state="active", score=810, tier=Tier.HIGH, access=Access.FULL, rotation=Rotation.STANDARD),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_carry_their_kind(event: Event) -> None:
    assert decode_event(encode(event), Event) == event
    untagged = json.loads(encode(event))
    del untagged["type"]
    with pytest.raises(ProtocolViolation):
        decode_event(json.dumps(untagged), Event)


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(ProtocolViolation):
        decode_event(b'{"type":"reboot"}', Event)


def test_messages_are_immutable() -> None:
    with pytest.raises(AttributeError):
        NONCE.expires_at = 2.0  # type: ignore[misc]
    assert msgspec.structs.replace(NONCE, expires_at=2.0) != NONCE
