"""Messages: what carries a secret does not show it, unknown fields are refused, names are checked."""

from __future__ import annotations

import inspect

import msgspec
import pytest

from protocol import messages
from protocol.codec import ProtocolViolation
from protocol.delivery import Association, Direction
from protocol.levels import ResourceClass
from protocol.messages import Activation, EnrolSession, EnrolStart, JoinProof, Message
from protocol.names import check_name

MESSAGES = [
    each
    for _, each in inspect.getmembers(messages, inspect.isclass)
    if issubclass(each, Message) and each is not Message
]


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_is_frozen_and_refuses_unknown_fields(kind: type[Message]) -> None:
    assert kind.__struct_config__.frozen
    assert kind.__struct_config__.forbid_unknown_fields


SECRET = "s3cr3t-s3cr3t-s3cr3t"
HIDING = [
    EnrolStart(admin="ada", ticket=SECRET, pin=SECRET),
    EnrolSession(
        enrolment_id="e",
        nonce=b"n",
        record_id="r",
        sealed_share=SECRET.encode(),
        approval_key=b"",
        modalities=[],
        consent_version="1",
        consent_text="t",
        expires_at=1.0,
    ),
    Activation(
        challenge_id="c",
        record_id="r",
        nonce=b"n",
        digits="1",
        gestures=[],
        sealed_share=SECRET.encode(),
        deadline_s=1.0,
        pcr_selection=[],
    ),
    JoinProof(
        secret=SECRET.encode(),
        quote=messages.QuoteEvidence(attest=b"", signature=b"", pcrs={}),
        delivery_key=messages.CertifiedPublic(public=b"", attest=b"", signature=b""),
    ),
    messages.JoinRequest(
        version=1,
        name="n1",
        token=SECRET,
        ek_public=b"",
        ek_certificates=[],
        ak_public=b"",
        csr=b"",
        devices=[],
        agent_version="0",
    ),
    Association(
        peer="p",
        peer_name="p",
        direction=Direction.INBOUND,
        version=1,
        epoch=1,
        resource_class=ResourceClass.NORMAL,
        key=SECRET.encode(),
    ),
]


@pytest.mark.parametrize("message", HIDING, ids=lambda message: type(message).__name__)
def test_secrets_are_in_no_representation(message: Message) -> None:
    assert SECRET in str(msgspec.structs.asdict(message))
    assert SECRET not in f"{message!r} {message} {[message]}"


@pytest.mark.parametrize("name", ["a", "node-1", "rack.7_b", "a" * 63])
def test_good_names(name: str) -> None:
    assert check_name("node", name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a\n", "ä", "a" * 64, "../a", "a/b", "a;b"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ProtocolViolation, match="a node name"):
        check_name("node", name)
