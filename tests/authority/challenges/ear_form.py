"""The form of an attestation result by the drafts, and its signature by a JOSE library that did not make it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jsonschema import Draft202012Validator

from authority.ear import jwks
from protocol.codec import b64url

SCHEMA = json.loads(Path(__file__).with_name("ear-04.schema.json").read_text())
FORM = Draft202012Validator(SCHEMA)
KEY = ec.derive_private_key(0x5EED, ec.SECP256R1())
RANK = ("affirming", "warning", "contraindicated")
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}


def verified(token: str, keys: dict[str, Any]) -> dict[str, Any]:
    """The claims of a token that PyJWT verifies by a published key set; raises `jwt.InvalidTokenError`."""
    header = jwt.get_unverified_header(token)
    assert header == {"alg": "ES256", "typ": "eat+jwt", "kid": header["kid"]}
    published = next(key for key in keys["keys"] if key["kid"] == header["kid"])
    assert not PRIVATE & set(published)
    return jwt.decode(token, jwt.PyJWK(published), ["ES256"], options={"verify_exp": False, "verify_iat": False})


def conforms(claims: dict[str, Any]) -> None:
    """Raises unless the claims have the drafts' form and no status says more than the vector it stands beside."""
    FORM.validate(claims)
    assert all(type(claims[name]) is int for name in ("iat", "exp"))
    for appraisal in claims["submods"].values():
        for value in appraisal["ear_trustworthiness_vector"].values():
            least = RANK.index(tier(value)) if tier(value) in RANK else 0
            assert appraisal["ear_status"] == "none" or RANK.index(appraisal["ear_status"]) >= least


def tier(value: int) -> str:
    """The tier of a claim, section 3.2 of the AR4SI draft."""
    if -1 <= value <= 1:
        return "none"
    if -32 <= value <= 31:
        return "affirming"
    return "warning" if -96 <= value <= 95 else "contraindicated"


def thumbprint(key: dict[str, str]) -> str:
    """RFC 7638, by hand."""
    text = json.dumps({name: key[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    return b64url(hashlib.sha256(text.encode()).digest())


KEYS = jwks(KEY)
