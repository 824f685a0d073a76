"""Tokens made by hand, whatever they say, and a provider whose documents lie in memory."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authority.config import OidcProvider
from authority.oidc import SignOn
from authority.oidc.claims import Person
from authority.oidc.transport import Fetch, FetchFailed
from tests.authority.oidc.issuer import AUDIENCE
from tests.authority.oidc.site import believing, provider

ISSUER = "https://id.example/realm"
NOW = 1_790_000_000.0
Sign = Callable[[bytes], bytes]
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
WEAK_RSA = rsa.generate_private_key(65537, 1024)
P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def compact(header: Mapping[str, Any] | str, claims: Mapping[str, Any] | str, sign: Sign) -> str:
    """A JWS over exactly this JSON."""
    parts = [each if isinstance(each, str) else json.dumps(each) for each in (header, claims)]
    signed = ".".join(b64(part.encode()) for part in parts)
    return f"{signed}.{b64(sign(signed.encode()))}"


def rs256(key: rsa.RSAPrivateKey) -> Sign:
    return lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def es(key: ec.EllipticCurvePrivateKey, hashed: hashes.HashAlgorithm) -> Sign:
    def sign(data: bytes) -> bytes:
        size = (key.key_size + 7) // 8
        return b"".join(n.to_bytes(size, "big") for n in decode_dss_signature(key.sign(data, ec.ECDSA(hashed))))

    return sign


def hs256(secret: bytes) -> Sign:
    return lambda data: hmac.new(secret, data, hashlib.sha256).digest()


def pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def rsa_jwk(key: rsa.RSAPrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "use": "sig", "n": number(numbers.n), "e": number(numbers.e), **more}


def ec_jwk(key: ec.EllipticCurvePrivateKey, kid: str, crv: str) -> dict[str, Any]:
    numbers, size = key.public_key().public_numbers(), (key.key_size + 7) // 8
    place = {"x": b64(numbers.x.to_bytes(size, "big")), "y": b64(numbers.y.to_bytes(size, "big"))}
    return {"kty": "EC", "kid": kid, "crv": crv, **place}


def okp_jwk(key: ed25519.Ed25519PrivateKey, kid: str) -> dict[str, Any]:
    return {"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": b64(key.public_key().public_bytes_raw())}


KEYS: list[dict[str, Any]] = [
    rsa_jwk(RSA, "rsa"),
    rsa_jwk(OTHER_RSA, "rsa-2", alg="PS256"),
    ec_jwk(P256, "p256", "P-256"),
    ec_jwk(P384, "p384", "P-384"),
    okp_jwk(EDWARDS, "ed"),
    {"kty": "oct", "kid": "secret", "k": b64(b"0" * 32)},
]
HEADER = {"alg": "RS256", "kid": "rsa", "typ": "at+jwt"}
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "ann",
    "client_id": "cli",
    "jti": "1",
    "iat": NOW - 10,
    "exp": NOW + 290,
    "groups": ["vigil-operators"],
}


def token(header: Mapping[str, Any] | None = None, sign: Sign | None = None, **claims: Any) -> str:
    """A good one but for what is named; a claim of `...` is left out."""
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}
    named = {name: value for name, value in {**HEADER, **(header or {})}.items() if value is not ...}
    return compact(named, said, sign or rs256(RSA))


class Documents:
    """Fetches from memory; `asked` is what was asked for."""

    def __init__(self, keys: list[dict[str, Any]] | None = None, **metadata: Any) -> None:
        self.asked: list[str] = []
        said = {"issuer": ISSUER, "jwks_uri": "https://keys.example/jwks", **metadata}
        self.found = {
            f"{ISSUER}/.well-known/openid-configuration": json.dumps(said).encode(),
            "https://keys.example/jwks": json.dumps({"keys": KEYS if keys is None else keys}).encode(),
        }

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.found:
            raise FetchFailed("it answered 404", missing=True)
        return self.found[url]

    def make(self, _ca: Path | None) -> Fetch:
        return self.fetch


def chosen(**settings: Any) -> OidcProvider:
    return msgspec.structs.replace(provider(ISSUER), **settings)


def door(documents: Documents | None = None, now: float = NOW, **settings: Any) -> SignOn:
    return believing(chosen(**settings), lambda: now, (documents or Documents()).make)


def person(text: str, documents: Documents | None = None, *, certificate: str = "", **settings: Any) -> Person:
    """Who a token is of."""
    return asyncio.run(door(documents, **settings).person(text, certificate))
