"""Openings: what leads to a Merkle root and what does not, and the consent that lets any be kept."""

from __future__ import annotations

import msgspec
import pytest

from protocol.codec import ProtocolViolation, decode, encode
from protocol.evidence import merkle_root
from protocol.messages import ModalityModel
from protocol.openings import (
    OPENING_FORM,
    Opening,
    agreed_window_s,
    check_consent,
    opened_root,
    openings_clause,
    with_openings,
)
from tests.protocol.vectors import load

CASE = load("evidence")["commitment"]
LEAVES = [b"\x01" * 32, bytes.fromhex(CASE["hex"]), b"\x02" * 32]
OPENING = Opening(
    form=OPENING_FORM,
    node_id=CASE["node_id"],
    record_id=CASE["record_id"],
    challenge_id=CASE["challenge_id"],
    nonce=bytes.fromhex(CASE["nonce"]),
    model=msgspec.convert(CASE["model"], ModalityModel),
    features=bytes.fromhex(CASE["features"]),
    blinding=bytes.fromhex(CASE["opening"]),
    index=1,
    leaves=LEAVES,
    consent_version="1+openings-86400",
)


def test_the_golden_commitment_opens_to_its_root() -> None:
    assert opened_root(decode(encode(OPENING), Opening)) == merkle_root(LEAVES)


@pytest.mark.parametrize(
    "changes",
    [
        {"form": "keyvigil/opening/2"},
        {"node_id": "x"},
        {"record_id": "x"},
        {"challenge_id": "x"},
        {"nonce": bytes(32)},
        {"model": ModalityModel(modality="voice", model="campplus-2", parameters="1")},
        {"features": OPENING.features[:-1] + b"\x00"},
        {"blinding": bytes(32)},
        {"blinding": b""},
        {"index": 0},
        {"index": 3},
        {"leaves": [LEAVES[0], bytes(32), LEAVES[2]]},
    ],
)
def test_anything_else_does_not_open(changes: dict[str, object]) -> None:
    with pytest.raises(ProtocolViolation):
        opened_root(msgspec.structs.replace(OPENING, **changes))


def test_another_leaf_beside_it_leads_to_another_root() -> None:
    other = msgspec.structs.replace(OPENING, leaves=[bytes(32), *LEAVES[1:]])
    assert opened_root(other) != opened_root(OPENING)


def test_neither_features_nor_blinding_are_shown() -> None:
    assert OPENING.features.hex() not in repr(OPENING) and str(OPENING.blinding) not in repr(OPENING)


def test_a_version_says_for_how_long() -> None:
    assert agreed_window_s(with_openings("1", 604_800)) == 604_800
    for version in ("", "1", "1+openings", "1+openings-", "1+openings-x", "1+openings--1", "x" * 99 + "+openings-1"):
        assert agreed_window_s(version) == 0


@pytest.mark.parametrize(
    ("seconds", "span"),
    [(604_800, "7 days"), (86_400, "1 day"), (5400, "90 minutes"), (3600, "1 hour"), (1, "1 second")],
)
def test_the_clause_names_the_window(seconds: int, span: str) -> None:
    assert f"For {span} after each presentation" in openings_clause(seconds)


def test_a_consent_that_hides_openings_is_refused() -> None:
    check_consent("1", "We measure you.")
    check_consent("1+openings-3600", "We measure you." + openings_clause(3600))
    for text in ("We measure you.", "We measure you." + openings_clause(60)):
        with pytest.raises(ProtocolViolation, match="does not say so"):
            check_consent("1+openings-3600", text)
