"""Values that no honest sender names are refused where a message is decoded, before any code computes with them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from protocol.codec import ProtocolViolation, b64url, decode, decode_event, encode
from protocol.delivery import Association, Direction, KeyBundle, SealedDelivery
from protocol.evidence import read_claims
from protocol.levels import Access, ResourceClass, Rotation, Tier
from protocol.messages import Activation, Event, Message, RosterEntry, StatusEvent, Summons

SUMMONS = Summons(
    challenge_id="c1",
    roster=[RosterEntry(admin="ada", record_id="r1")],
    modalities=["face"],
    reason="scheduled",
    expires_at=2e9,
)
STATUS = StatusEvent(state="active", score=900, tier=Tier.HIGH, access=Access.FULL, rotation=Rotation.STANDARD)
ACTIVATION = Activation(
    challenge_id="c1",
    record_id="r1",
    nonce=b"n",
    digits="4711",
    gestures=["blink"],
    sealed_share=b"s" * 32,
    deadline_s=90.0,
    pcr_selection=[0],
)
SEALED = SealedDelivery(
    node_id="ab" * 32, network="blue", generation=1, number=1, issued_at=1.0, enc=b"", ciphertext=b""
)
KEY = Association(
    peer="cd" * 32,
    peer_name="node-b",
    direction=Direction.INBOUND,
    version=1,
    epoch=1,
    resource_class=ResourceClass.NORMAL,
    key=b"k" * 32,
)
BUNDLE = KeyBundle(
    network="blue",
    tier=Tier.HIGH,
    access=Access.FULL,
    rotation=Rotation.STANDARD,
    version=1,
    epoch=1,
    rotate_s=60.0,
    expires_at=2e9,
    associations=[KEY],
)


def altered(message: Message, field: str, value: Any) -> bytes:
    return json.dumps(json.loads(encode(message)) | {field: value}).encode()


@pytest.mark.parametrize("message", [SUMMONS, STATUS])
def test_the_examples_themselves_are_events(message: Message) -> None:
    assert decode_event(encode(message), Event) == message


@pytest.mark.parametrize("message", [ACTIVATION, SEALED, KEY, BUNDLE])
def test_the_examples_themselves_are_allowed(message: Message) -> None:
    assert decode(encode(message), type(message)) == message


@pytest.mark.parametrize("beyond", [-1.0, 1e12, 1e308])
def test_a_time_beyond_every_calendar_is_refused(beyond: float) -> None:
    for message, field in ((SUMMONS, "expires_at"), (BUNDLE, "expires_at"), (SEALED, "issued_at")):
        with pytest.raises(ProtocolViolation, match=field):
            decode(altered(message, field, beyond), type(message))
    for message, field in ((ACTIVATION, "deadline_s"), (BUNDLE, "rotate_s")):
        with pytest.raises(ProtocolViolation, match=field):
            decode(altered(message, field, beyond), type(message))


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_what_is_no_number_is_refused(literal: bytes) -> None:
    data = altered(SUMMONS, "expires_at", 12345.5).replace(b"12345.5", literal)
    with pytest.raises(ProtocolViolation):
        decode(data, Summons)


@pytest.mark.parametrize("beyond", [-1, 2**63, 10**300])
def test_a_count_beyond_64_bits_is_refused(beyond: int) -> None:
    for message, field in ((SEALED, "number"), (SEALED, "generation"), (KEY, "epoch"), (BUNDLE, "version")):
        with pytest.raises(ProtocolViolation, match=field):
            decode(altered(message, field, beyond), type(message))
    with pytest.raises(ProtocolViolation, match="score"):
        decode(altered(STATUS, "score", beyond), StatusEvent)


@pytest.mark.parametrize("crooked", ["", "a:b", "a/b", "a\nb", "ok\n", "a\x00b", "\x1b[31m", "x" * 65])
def test_a_crooked_identifier_is_refused(crooked: str) -> None:
    """A peer goes into a key's description, a challenge and a record into paths and file names."""
    for message, field in ((KEY, "peer"), (SUMMONS, "challenge_id"), (ACTIVATION, "record_id"), (SEALED, "node_id")):
        with pytest.raises(ProtocolViolation, match=field):
            decode(altered(message, field, crooked), type(message))
    for message, field in ((KEY, "peer_name"), (BUNDLE, "network"), (SEALED, "network")):
        with pytest.raises(ProtocolViolation, match=field):
            decode(altered(message, field, crooked), type(message))


def test_a_roster_or_a_row_of_gestures_without_end_is_refused() -> None:
    entry = {"admin": "ada", "record_id": "r1"}
    with pytest.raises(ProtocolViolation, match="roster"):
        decode(altered(SUMMONS, "roster", [entry] * 1001), Summons)
    with pytest.raises(ProtocolViolation, match="gestures"):
        decode(altered(ACTIVATION, "gestures", ["blink"] * 17), Activation)
    with pytest.raises(ProtocolViolation, match="digits"):
        decode(altered(ACTIVATION, "digits", "1" * 65), Activation)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ProtocolViolation, match="key"):
        decode(altered(KEY, "key", base64.b64encode(bytes(length)).decode()), Association)


@pytest.mark.parametrize("signature", ["", "AAAA", b64url(bytes(63)), b64url(bytes(65)), "\u00e9" * 86, "=" * 86])
def test_a_token_without_a_whole_signature_has_no_claims(signature: str) -> None:
    claims = {
        "eat_profile": "tag:keyvigil,2026:evidence/1",
        "record": "r1",
        **dict.fromkeys(("iss", "eat_nonce", "challenge", "certificate", "agent"), "x"),
        **dict.fromkeys(("elapsed", "quality", "margin", "counter"), 1),
        "modalities": [{"modality": "face", "model": "m", "parameters": "1"}],
        "sensors": [],
        "commitments": ["A" * 43 + "="],
        "commitment": "f5/YQu5sNMfNyMrqhuR1Rmv39pCCy4rUrBY9dH0z6xQ=",
    }
    header = b64url(encode({"alg": "ES256", "kid": "r1", "typ": "eat+jwt"}))
    token = f"{header}.{b64url(json.dumps(claims).encode())}.{signature}"
    with pytest.raises(ProtocolViolation, match=r"signature|base64url"):
        read_claims(token)
