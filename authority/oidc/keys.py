"""A provider's key set (RFC 7517), and which of its keys a token may be verified with.

A key is for one family of algorithms by its own type: a public RSA key is never taken for a secret of HMAC, which is
how tokens are forged where the token alone says what it is signed with (RFC 8725, 2.1).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from authority.oidc.compact import Compact, TokenRefused
from protocol.codec import ProtocolViolation, unb64url

MOST_KEYS = 100
RSA_BITS = range(2048, 8193)
FAMILIES = {
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
    "Ed25519": "Ed25519",
}
"""Algorithms by the keys that they need: all that a site may allow. None is symmetric, and `none` is none."""

_EDWARDS = "Ed25519"
"""EdDSA with this curve; RFC 9864 names it so and lets `EdDSA`, which leaves the curve open, go. Providers say both."""

Public = RSAKey | ECKey | OKPKey


class KeySetUnreadable(Exception):
    """A provider's document is no key set."""


@dataclass(frozen=True)
class SigningKey:
    """One public key: `family` is `RSA` or a curve, `alg` none where the set binds it to no algorithm."""

    kid: str | None
    alg: str | None
    family: str
    public: Public = field(repr=False)


def read_key_set(document: bytes) -> tuple[SigningKey, ...]:
    """The keys of a set that are for signatures and of a kind that is known; raises `KeySetUnreadable`."""
    try:
        listed = json.loads(document)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeySetUnreadable("the provider's key set is not as RFC 7517 has it") from None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise KeySetUnreadable(f"the provider's key set is no list of up to {MOST_KEYS} keys")
    found = (_signing_key(each) for each in listed)
    return tuple(each for each in found if each is not None)


def fitting(keys: Sequence[SigningKey], token: Compact) -> SigningKey | None:
    """The one key that a token may be signed with; none where there is none, or where it is not clear which."""
    family, names = FAMILIES.get(token.alg), {None, _called(token.alg)}
    able = [key for key in keys if key.family == family and _called(key.alg) in names]
    named = able if token.kid is None else [key for key in able if key.kid == token.kid]
    return named[0] if len(named) == 1 else None


def verify(token: Compact, key: SigningKey) -> None:
    """Check the signature by `key`, with the token's algorithm and no other; raises `TokenRefused`."""
    registry = jws.JWSRegistry(algorithms=[token.alg], strict_check_header=False)
    try:
        if key.family == _EDWARDS:
            return _verify_edwards(token, key)
        jws.deserialize_compact(token.text, key.public, registry=registry)
    except (JoseError, InvalidSignature, ProtocolViolation, ValueError, TypeError):
        raise TokenRefused("the token is not signed by the provider") from None


def _called(alg: str | None) -> str | None:
    return _EDWARDS if alg == "EdDSA" else alg


def _verify_edwards(token: Compact, key: SigningKey) -> None:
    """RFC 8037, 3.1: over the header and payload as they were sent, whichever of its names the algorithm has."""
    signed, _, signature = token.text.rpartition(".")
    public = key.public.get_op_key("verify")
    if not isinstance(public, Ed25519PublicKey):
        raise TypeError("a key of another curve")
    public.verify(unb64url(signature), signed.encode())


def _signing_key(said: Any) -> SigningKey | None:
    """None for what this authority has no use for: encryption, symmetric and private keys, curves unheard of."""
    if not isinstance(said, dict) or "d" in said or said.get("use", "sig") != "sig":
        return None
    if "verify" not in said.get("key_ops", ["verify"]):
        return None
    kid, alg = said.get("kid"), said.get("alg")
    if not isinstance(kid, str | None) or not isinstance(alg, str | None):
        return None
    try:
        family, public = _public(said)
    except (JoseError, ProtocolViolation, ValueError, TypeError, KeyError, AttributeError):
        return None
    return SigningKey(kid, alg, family, public) if family in FAMILIES.values() else None


def _public(said: dict[str, Any]) -> tuple[str, Public]:
    match said["kty"]:
        case "RSA":
            if int.from_bytes(unb64url(said["n"])).bit_length() not in RSA_BITS:
                raise ValueError("a weak key, or a wasteful one")
            return "RSA", RSAKey.import_key({name: said[name] for name in ("kty", "n", "e")})
        case "EC":
            return said["crv"], ECKey.import_key({name: said[name] for name in ("kty", "crv", "x", "y")})
        case "OKP":
            return said["crv"], OKPKey.import_key({name: said[name] for name in ("kty", "crv", "x")})
        case _:
            raise ValueError("a key of another kind")
