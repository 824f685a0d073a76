"""Tokens: signed by the enrolled profile key, with ES256, and with nothing else around them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hal import KeyUse
from protocol.codec import b64url, encode
from protocol.digests import evidence_digest
from protocol.evidence import EvidenceClaims
from protocol.messages import (
    Activation,
    EvidenceSubmission,
    Outcome,
)
from tests.authority.challenges.answers import (
    activated,
    answered,
    presentations,
)
from tests.authority.nodes import AUTH, Machine, Site


def with_quote(node: Machine, token: str) -> EvidenceSubmission:
    """The token with a quote that holds for it."""
    return EvidenceSubmission(token=token, quote=node.quote(evidence_digest(token)))


def jws(header: dict[str, Any], claims: EvidenceClaims, sign: Callable[[bytes], bytes]) -> str:
    signing_input = f"{b64url(encode(header))}.{b64url(encode(claims))}"
    return f"{signing_input}.{b64url(sign(hashlib.sha256(signing_input.encode()).digest()))}"


def signed_otherwise(node: Machine, activation: Activation) -> dict[str, str]:
    """Tokens with the right claims and something wrong around them."""
    claims = node.claims(activation)
    header = {"alg": "ES256", "kid": claims.record, "typ": "eat+jwt"}
    foreign = node.enclave.create_key(KeyUse.SIGN, AUTH, bytes(32))
    own = node.profile_key
    assert own is not None

    def right(digest: bytes) -> bytes:
        return node.sign(digest)

    good = jws(header, claims, right)
    head, body, signature = good.split(".")
    public = site_public(own.public)
    return {
        "another key": jws(header, claims, lambda digest: node.enclave.sign(foreign, AUTH, digest)),
        "alg none": jws({**header, "alg": "none"}, claims, lambda _: b""),
        "alg none, ES256 named": jws(header, claims, lambda _: b""),
        "HS256 with the public key": jws(
            {**header, "alg": "HS256"}, claims, lambda d: hashlib.sha256(public + d).digest()
        ),
        "a key in the header": jws({**header, "jwk": "x"}, claims, right),
        "critical extension": jws({**header, "crit": ["x"]}, claims, right),
        "another kid": jws({**header, "kid": "x"}, claims, right),
        "another type": jws({**header, "typ": "JWT"}, claims, right),
        "zero signature": jws(header, claims, lambda _: bytes(64)),
        "short signature": jws(header, claims, lambda digest: right(digest)[:63]),
        "signature of other claims": f"{head}.{b64url(encode(msgspec.structs.replace(claims, quality=0)))}.{signature}",
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.x",
        "padded": f"{good}==",
        "no ASCII": f"{head}.{body}.é{signature}",
        "empty": "",
        "too long": good + "A" * 20_000,
        "blank before": f" {good}",
    }


def site_public(tpm2b: bytes) -> bytes:
    return tpm2b[-68:]


HEADERS = [
    "another key",
    "alg none",
    "alg none, ES256 named",
    "HS256 with the public key",
    "a key in the header",
    "critical extension",
    "another kid",
    "another type",
    "zero signature",
    "short signature",
    "signature of other claims",
    "two parts",
    "four parts",
    "padded",
    "no ASCII",
    "empty",
    "too long",
    "blank before",
]


@pytest.mark.parametrize("flaw", HEADERS)
def test_a_token_that_the_profile_key_did_not_sign_so_is_rejected(site: Site, enrolled: Machine, flaw: str):
    activation = activated(site, enrolled)
    token = signed_otherwise(enrolled, activation)[flaw]
    quote = enrolled.quote(hashlib.sha256(token.encode()).digest())
    verdict = enrolled.submit(site, activation.challenge_id, EvidenceSubmission(token=token, quote=quote))
    assert verdict.outcome is Outcome.REJECTED
    assert presentations(site) == ["failed"]
    assert answered(site, enrolled) is Outcome.ACCEPTED
