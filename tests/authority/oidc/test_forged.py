"""Tokens that are not what they should be, each beside one that is: RFC 8725 and RFC 9068, attack by attack."""

from __future__ import annotations

import hashlib
import json
import warnings
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from authority.oidc import LONGEST, ProviderUnreachable, TokenRefused
from authority.oidc.claims import name_of, person_of
from authority.oidc.compact import read_compact
from authority.roles import Scope
from tests.authority.oidc.forge import (
    CLAIMS,
    EDWARDS,
    HEADER,
    ISSUER,
    KEYS,
    NOW,
    OTHER_RSA,
    P256,
    P384,
    RSA,
    WEAK_RSA,
    Documents,
    b64,
    chosen,
    compact,
    door,
    ec_jwk,
    es,
    hs256,
    okp_jwk,
    pem,
    person,
    rs256,
    rsa_jwk,
    token,
)
from tests.authority.oidc.issuer import AUDIENCE

STRANGER = ec_jwk(P256, "mine", "P-256") | {"use": "sig"}
THUMBPRINT = hashlib.sha256(b"a certificate").hexdigest()


def refusal(text: str, documents: Documents | None = None, **settings: Any) -> str:
    with pytest.raises(TokenRefused) as refused:
        person(text, documents, **settings)
    assert "ann" not in str(refused.value) and "vigil" not in str(refused.value)
    return str(refused.value)


def test_the_control_is_good() -> None:
    found = person(token())
    assert (found.name, found.subject, found.provider) == ("oidc:corp/ann", "ann", "corp")
    assert found.scopes == {Scope.READ, Scope.AUDIT, Scope.OPERATE, Scope.APPROVE}


GOOD = {
    "with PyJWT": jwt.encode(CLAIMS, RSA, "RS256", HEADER),
    "PS256": jwt.encode(CLAIMS, OTHER_RSA, "PS256", HEADER | {"alg": "PS256", "kid": "rsa-2"}),
    "ES256": token({"alg": "ES256", "kid": "p256"}, es(P256, SHA256())),
    "EdDSA": token({"alg": "EdDSA", "kid": "ed"}, EDWARDS.sign),
    "Ed25519, as RFC 9864 names it": token({"alg": "Ed25519", "kid": "ed"}, EDWARDS.sign),
    "media type in full": token({"typ": "application/at+jwt"}),
    "no kid, and one key that fits": token({"alg": "ES256", "kid": ...}, es(P256, SHA256())),
    "many audiences": token(aud=["other", AUDIENCE]),
    "one group as text": token(groups="vigil-operators"),
    "just begun, by another clock": token(iat=NOW + 20, nbf=NOW + 20),
    "just over, by another clock": token(exp=NOW - 20),
    "a header of another's": token({"jku": "https://evil.example/jwks", "x5u": "https://evil.example/x", "x5t": "a"}),
}


@pytest.mark.parametrize("case", GOOD)
def test_good_tokens_are_taken(case: str) -> None:
    assert person(GOOD[case]).name == "oidc:corp/ann"


UNSIGNED = {
    "alg none": (token({"alg": "none"}, lambda _: b"\0"), "algorithm"),
    "alg none, in capitals": (token({"alg": "NoNe"}, lambda _: b"\0"), "algorithm"),
    "no signature": (token().rpartition(".")[0] + ".", "no signed JWT"),
    "HS256 with the public key": (token({"alg": "HS256"}, hs256(pem(RSA))), "algorithm"),
    "HS256 with a published secret": (token({"alg": "HS256", "kid": "secret"}, hs256(b"0" * 32)), "algorithm"),
    "an algorithm that is not allowed": (token({"alg": "ES384", "kid": "p384"}, es(P384, SHA384())), "algorithm"),
    "another's key under the kid": (token(sign=rs256(OTHER_RSA)), "not signed"),
    "a signature of another token": (
        token().rpartition(".")[0] + "." + token(sub="b").rpartition(".")[2],
        "not signed",
    ),
    "a kid that is not published": (token({"kid": "unheard"}), "does not publish"),
    "the kid of a key for another algorithm": (token({"kid": "p256"}), "does not publish"),
    "RS256 by a key bound to PS256": (token({"kid": "rsa-2"}, rs256(OTHER_RSA)), "does not publish"),
    "ES256 over another curve": (token({"alg": "ES256", "kid": "p384"}, es(P384, SHA256())), "does not publish"),
    "no kid, and two keys that fit": (token({"kid": ...}), "does not publish"),
    "jwk in the header": (token({"alg": "ES256", "kid": "mine", "jwk": STRANGER}, es(P256, SHA256())), "publish"),
    "crit": (token({"crit": ["b64"], "b64": False}), "extension"),
    "no alg": (token({"alg": ...}), "no algorithm"),
    "kid as a number": (token({"kid": 7}), "RFC 7515"),
}


@pytest.mark.parametrize("case", UNSIGNED)
def test_what_the_provider_did_not_sign_is_refused(case: str) -> None:
    text, reason = UNSIGNED[case]
    two = Documents([*KEYS, rsa_jwk(OTHER_RSA, "rsa-3")])
    assert reason in refusal(text, two)


@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
@pytest.mark.parametrize("published", [None, "EdDSA", "Ed25519"])
def test_both_names_of_ed25519_are_one_algorithm_and_neither_warns(alg: str, published: str | None) -> None:
    """Providers of before RFC 9864 say EdDSA, of after it Ed25519, and while they change over each in another place."""
    named = okp_jwk(EDWARDS, "ed") | ({"alg": published} if published else {})
    good = token({"alg": alg, "kid": "ed"}, EDWARDS.sign)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert person(good, Documents([named])).subject == "ann"
    forged = good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")
    assert "not signed" in refusal(forged, Documents([named]))
    assert "not signed" in refusal(token({"alg": alg, "kid": "ed"}, lambda _: b"short"), Documents([named]))


def test_where_keys_are_is_never_read_from_a_token() -> None:
    documents = Documents()
    there = "https://evil.example/jwks"
    documents.found[there] = json.dumps({"keys": [rsa_jwk(OTHER_RSA, "mine")]}).encode()
    assert refusal(token({"kid": "mine", "jku": there, "x5u": there}, rs256(OTHER_RSA)), documents)
    assert there not in documents.asked
    assert person(token({"kid": "mine"}, rs256(OTHER_RSA)), Documents([rsa_jwk(OTHER_RSA, "mine")]))  # the control


CLAIMED = {
    "another audience": (token(aud="https://other.example"), "audience"),
    "an audience that ours begins with": (token(aud=AUDIENCE + "/more"), "audience"),
    "no audience": (token(aud=...), "audience"),
    "another issuer": (token(iss="https://id.example/other"), "issuer"),
    "an issuer with a slash more": (token(iss=ISSUER + "/"), "issuer"),
    "an issuer that is a list": (token(iss=[ISSUER]), "issuer"),
    "expired": (token(exp=NOW - 30), "expired"),
    "no end": (token(exp=...), "exp"),
    "an end as text": (token(exp=str(NOW + 100)), "exp"),
    "an end that is true": (token(exp=True), "exp"),
    "an end beyond all": (compact(HEADER, json.dumps(CLAIMS).replace(str(NOW + 290), "1e999"), rs256(RSA)), "exp"),
    "not begun": (token(nbf=NOW + 31), "not good yet"),
    "from the future": (token(iat=NOW + 31), "not good yet"),
    "no beginning": (token(iat=...), "iat"),
    "too long": (token(exp=NOW + 86400), "longer than"),
    "no subject": (token(sub=...), "subject"),
    "a subject with a line break": (token(sub="ann\nroot"), "subject"),
    "a subject of another script": (token(sub="аnn"), "subject"),
    "too long a subject": (token(sub="a" * 256), "subject"),
    "of no client": (token(client_id=...), "client_id"),
    "without a number": (token(jti=...), "jti"),
    "typ JWT": (token({"typ": "JWT"}), "typ"),
    "no typ": (token({"typ": ...}), "typ"),
    "a logout token": (token({"typ": "logout+jwt"}), "typ"),
    "an ID token under another typ": (token(nonce="n"), "ID token"),
    "bound to a certificate": (token(cnf={"x5t#S256": b64(bytes.fromhex(THUMBPRINT))}), "bound"),
    "bound to a key by DPoP": (token(cnf={"jkt": "x"}), "bound"),
}


@pytest.mark.parametrize("case", CLAIMED)
def test_what_was_not_issued_for_this_is_refused(case: str) -> None:
    text, reason = CLAIMED[case]
    assert reason in refusal(text)


def test_claims_are_judged_for_one_provider_whoever_chose_it() -> None:
    """A key of one provider is no way to be somebody of another."""
    other = read_compact(token(iss="https://id.example/other"))
    with pytest.raises(TokenRefused, match="another issuer"):
        person_of(other, chosen(), NOW)
    assert person_of(read_compact(token()), chosen(), NOW).name == "oidc:corp/ann"


def test_a_bound_token_is_good_with_its_certificate() -> None:
    bound = token(cnf={"x5t#S256": b64(bytes.fromhex(THUMBPRINT))})
    assert person(bound, certificate=THUMBPRINT)
    assert "bound" in refusal(bound, certificate="00" * 32)
    both = token(cnf={"x5t#S256": b64(bytes.fromhex(THUMBPRINT)), "jkt": "x"})
    assert "bound" in refusal(both, certificate=THUMBPRINT)


TWICE = {
    "subject": (json.dumps(HEADER), json.dumps(CLAIMS)[:-1] + ', "sub": "root"}'),
    "audience": (json.dumps(HEADER), '{"aud": "other", ' + json.dumps(CLAIMS)[1:]),
    "escaped": (json.dumps(HEADER), json.dumps(CLAIMS)[:-1] + r', "s\u0075b": "root"}'),
    "within a claim": (json.dumps(HEADER), json.dumps(CLAIMS)[:-1] + ', "a": {"b": 1, "b": 2}}'),
    "algorithm": ('{"alg": "none", ' + json.dumps(HEADER)[1:], json.dumps(CLAIMS)),
}


@pytest.mark.parametrize("what", TWICE)
def test_what_is_said_twice_is_refused(what: str) -> None:
    header, claims = TWICE[what]
    assert refusal(compact(header, claims, rs256(RSA))) == "the token says one thing twice"
    assert person(compact(json.dumps(HEADER), json.dumps(CLAIMS), rs256(RSA)))


UNREADABLE = {
    "no JSON": compact("{", json.dumps(CLAIMS), rs256(RSA)),
    "a list": compact(HEADER, "[]", rs256(RSA)),
    "not a number": compact(HEADER, '{"exp": NaN}', rs256(RSA)),
    "deep": compact(HEADER, "[" * 5000, rs256(RSA)),
    "no base64url": "a+b." + token().partition(".")[2],
    "padded": token().replace(".", "=.", 1),
    "two parts": ".".join(token().split(".")[:2]),
    "five parts": token() + ".a.b",
    "nothing": "..",
    "no text": compact(HEADER, '{"iss": "\\ud800"}', rs256(RSA)),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_token_is_refused(case: str) -> None:
    assert refusal(UNREADABLE[case])


def test_an_oversized_token_is_refused_before_anything_is_asked() -> None:
    documents, room = Documents(), LONGEST - len(token(padding=""))
    assert person(token(padding="x" * (room * 3 // 4 - 8)))
    assert "more than" in refusal(token(padding="x" * room), documents) and documents.asked == []


def test_a_weak_key_of_the_provider_is_not_used() -> None:
    weak = Documents([rsa_jwk(WEAK_RSA, "rsa")])
    assert "does not publish" in refusal(token(sign=rs256(WEAK_RSA)), weak)


@pytest.mark.parametrize("flaw", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"d": "AQAB"}, {"n": 7}, {"kid": 7}])
def test_a_key_that_is_not_for_verifying_is_not_used(flaw: dict[str, Any]) -> None:
    assert "does not publish" in refusal(token(), Documents([rsa_jwk(RSA, "rsa") | flaw]))


METADATA: dict[str, dict[str, Any]] = {
    "of another issuer": {"issuer": "https://id.example/other"},
    "keys over plain HTTP": {"jwks_uri": "http://keys.example/jwks"},
    "no keys": {"jwks_uri": None},
    "keys nowhere": {"jwks_uri": "https://keys.example/none"},
}


@pytest.mark.parametrize("flaw", METADATA)
def test_metadata_that_cannot_be_believed_gives_no_keys(flaw: str) -> None:
    with pytest.raises(ProviderUnreachable):
        person(token(), Documents(**METADATA[flaw]))


@pytest.mark.parametrize("document", [b"", b"[]", b'{"keys": 1}', b'{"keys": [' + b"{}," * 100 + b"{}]}", b"\xff"])
def test_a_document_that_is_no_key_set_gives_no_keys(document: bytes) -> None:
    documents = Documents()
    documents.found["https://keys.example/jwks"] = document
    with pytest.raises(ProviderUnreachable):
        person(token(), documents)


def test_a_stranger_of_another_issuer_costs_the_provider_nothing() -> None:
    documents = Documents()
    assert "issuer" in refusal(token(iss="https://evil.example"), documents)
    assert "algorithm" in refusal(token({"alg": "none"}), documents) and documents.asked == []


def test_roles_lie_where_the_configuration_says() -> None:
    nested = token(groups=..., realm={"roles": ["vigil-taps", "unheard", 7]})
    assert person(nested, claim=("realm", "roles")).scopes == {Scope.SIGNAL}
    assert person(nested).scopes == person(token(groups={"vigil-admins": 1})).scopes == frozenset()


def test_names_stay_apart_and_fit() -> None:
    long, odd = "a" * 200, "auth0|a b"
    names = {name_of("corp", subject) for subject in ("ann", "Ann", long, long[:-1], odd, "sha256:" + "0" * 32)}
    assert len(names) == 6 and all(len(name) <= 63 and name.startswith("oidc:corp/") for name in names)
    assert name_of("corp", "auth0|507f1f77bcf86cd799439011") == "oidc:corp/auth0|507f1f77bcf86cd799439011"
    assert name_of("corp", long).startswith("oidc:corp/sha256:")


def test_nothing_of_a_token_is_in_its_representation() -> None:
    assert "ann" not in repr(read_compact(token())) and token()[:20] not in repr(read_compact(token()))
    assert door()
