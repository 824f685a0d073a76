"""Evidence: commitments, Merkle root, buckets, and the token's strict form."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest

from protocol.codec import ProtocolViolation, b64url, encode
from protocol.evidence import (
    EvidenceClaims,
    commit,
    commitment_context,
    elapsed_bucket,
    encode_token,
    level,
    merkle_root,
    read_claims,
)
from protocol.messages import ModalityModel
from tests.protocol.vectors import load

V = load("evidence")
CLAIMS = msgspec.convert(V["token"]["claims"], EvidenceClaims)
SIGNATURE = bytes.fromhex(V["token"]["signature"])


def golden_commitment(**changes: str) -> bytes:
    case = {**V["commitment"], **changes}
    return commit(
        bytes.fromhex(case["opening"]),
        commitment_context(case["node_id"], case["record_id"], case["challenge_id"]),
        bytes.fromhex(case["nonce"]),
        msgspec.convert(case["model"], ModalityModel),
        bytes.fromhex(case["features"]),
    )


def test_golden_commitment() -> None:
    assert golden_commitment().hex() == V["commitment"]["hex"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("opening", "08" * 32),
        ("node_id", "x"),
        ("record_id", "x"),
        ("challenge_id", "x"),
        ("nonce", "00"),
        ("features", "0000"),
    ],
)
def test_a_commitment_depends_on_everything(name: str, value: str) -> None:
    assert golden_commitment(**{name: value}) != golden_commitment()


def test_an_opening_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        golden_commitment(opening="00" * 31)


def test_published_merkle_roots() -> None:
    leaves = [bytes.fromhex(leaf) for leaf in V["merkle"]["leaves"]]
    roots = [merkle_root(leaves[: count + 1]).hex() for count in range(len(leaves))]
    assert roots == V["merkle"]["roots"]
    assert merkle_root([]).hex() == V["merkle"]["empty"]


def test_a_leaf_is_no_inner_node() -> None:
    left, right = hashlib.sha256(b"\x00a").digest(), hashlib.sha256(b"\x00b").digest()
    assert merkle_root([b"a", b"b"]) != merkle_root([left + right])


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0, 0), (10, 0), (10.1, 1), (30, 2), (45, 3), (60, 4), (61, 5), (1e9, 5)]
)
def test_elapsed_buckets(seconds: float, bucket: int) -> None:
    assert elapsed_bucket(seconds) == bucket


@pytest.mark.parametrize(
    ("percent", "bucket"), [(-5, 0), (0, 0), (19.9, 0), (20, 1), (79, 3), (80, 4), (100, 4), (300, 4)]
)
def test_levels(percent: float, bucket: int) -> None:
    assert level(percent) == bucket


def test_golden_token() -> None:
    signed: list[bytes] = []

    def sign(digest: bytes) -> bytes:
        signed.append(digest)
        return SIGNATURE

    assert encode_token(CLAIMS, sign) == V["token"]["jws"]
    assert signed[0].hex() == V["token"]["signing_input_sha256"]
    assert read_claims(V["token"]["jws"]) == CLAIMS


def token(claims: EvidenceClaims, header: dict | None = None) -> str:
    head = header if header is not None else {"alg": "ES256", "kid": claims.record, "typ": "eat+jwt"}
    return f"{b64url(encode(head))}.{b64url(encode(claims))}.{b64url(SIGNATURE)}"


def changed(**values: object) -> EvidenceClaims:
    return msgspec.structs.replace(CLAIMS, **values)


def test_the_builder_of_forgeries_makes_good_tokens_too() -> None:
    assert read_claims(token(CLAIMS)) == CLAIMS


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"alg": "none", "kid": CLAIMS.record, "typ": "eat+jwt"},
        {"alg": "HS256", "kid": CLAIMS.record, "typ": "eat+jwt"},
        {"alg": "ES256", "kid": "other", "typ": "eat+jwt"},
        {"alg": "ES256", "kid": CLAIMS.record, "typ": "JWT"},
        {"alg": "ES256", "kid": CLAIMS.record, "typ": "eat+jwt", "jku": "https://x.example"},
        {"alg": "ES256", "kid": CLAIMS.record, "typ": "eat+jwt", "crit": ["b64"]},
    ],
)
def test_a_foreign_header_is_refused(header: dict) -> None:
    with pytest.raises(ProtocolViolation):
        read_claims(token(CLAIMS, header))


MODEL = CLAIMS.modalities[0]
LEAF = CLAIMS.commitments[0]
FLAWED = {
    "another profile": changed(eat_profile="tag:other"),
    "no modality": changed(modalities=[], commitments=[], commitment=merkle_root([])),
    "a modality twice": changed(
        modalities=[MODEL, MODEL], commitments=[LEAF, LEAF], commitment=merkle_root([LEAF, LEAF])
    ),
    "fewer commitments": changed(commitments=[], commitment=merkle_root([])),
    "a short commitment": changed(commitments=[b"x"], commitment=merkle_root([b"x"])),
    "a wrong root": changed(commitment=b"\x00" * 32),
    "quality out of range": changed(quality=5),
    "negative margin": changed(margin=-1),
    "elapsed out of range": changed(elapsed=6),
    "a negative counter": changed(counter=-1),
}


@pytest.mark.parametrize("name", FLAWED)
def test_flawed_claims_are_refused(name: str) -> None:
    with pytest.raises(ProtocolViolation):
        read_claims(token(FLAWED[name]))


def test_unknown_claims_are_refused() -> None:
    more = {**json.loads(encode(CLAIMS)), "admin": True}
    head, _, tail = token(CLAIMS).split(".")
    with pytest.raises(ProtocolViolation):
        read_claims(f"{head}.{b64url(json.dumps(more).encode())}.{tail}")


@pytest.mark.parametrize("text", ["", ".", "..", "a.b", "a.b.c.d", "é.é.é", "A" * 20_000, "." * 20_000])
def test_what_is_no_compact_jws_is_refused(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        read_claims(text)
