"""ID tokens that are not what they should be, each beside one that is, and answers that are of no sign-in of ours."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from authority.config import ConfigError, load_site, render
from authority.oidc import ProviderUnreachable, TokenRefused
from authority.oidc.code_flow import ATTEMPT_S, Attempt
from authority.oidc.id_tokens import SignedIn, half_hash
from authority.roles import Scope
from protocol.codec import b64url
from tests.authority.oidc.exchange import (
    ACCESS,
    ATTEMPT,
    CLIENT,
    CODE,
    ID_CLAIMS,
    PLACES,
    Exchange,
    asked_of,
    console,
    id_token,
    opened,
)
from tests.authority.oidc.forge import (
    EDWARDS,
    ISSUER,
    NOW,
    OTHER_RSA,
    P256,
    RSA,
    Documents,
    chosen,
    compact,
    es,
    hs256,
    pem,
    rs256,
)
from tests.authority.oidc.issuer import AUDIENCE
from tests.authority.oidc.site import config

GOOD = {"state": ATTEMPT.state("corp"), "code": CODE}
LEFT = b64url(hashlib.sha256(ACCESS.encode()).digest()[:16])


def finished(text: Any, attempt: Attempt = ATTEMPT, **answer: str) -> SignedIn:
    exchange = Exchange(id_token=text) if text is not ... else Exchange()
    return asyncio.run(console(exchange).finish(attempt, {**GOOD, **answer}, NOW))


def refusal(text: Any, **answer: str) -> str:
    with pytest.raises(TokenRefused) as refused:
        finished(text, **answer)
    assert "ann" not in str(refused.value) and "vigil" not in str(refused.value)
    return str(refused.value)


def test_the_control_signs_in() -> None:
    found = finished(id_token())
    assert (found.person.name, found.ends_at) == ("oidc:corp/ann", NOW + 290)
    assert found.person.scopes == {Scope.READ, Scope.AUDIT, Scope.OPERATE, Scope.APPROVE}


ALSO_GOOD = {
    "an audience that is a list": id_token(aud=["console"]),
    "two audiences, issued to this client": id_token(aud=["console", AUDIENCE], azp="console"),
    "issued to this client": id_token(azp="console"),
    "no typ": id_token({"typ": ...}),
    "with the hash of the access token": id_token(at_hash=LEFT),
    "with both hashes": id_token(at_hash=LEFT, c_hash=half_hash("RS256", CODE)),
    "of a provider that calls it ID": id_token(typ="ID"),
    "EdDSA, whose hash is SHA-512": id_token(
        {"alg": "EdDSA", "kid": "ed"},
        EDWARDS.sign,
        at_hash=b64url(hashlib.sha512(ACCESS.encode()).digest()[:32]),
    ),
}


@pytest.mark.parametrize("case", ALSO_GOOD)
def test_what_a_provider_may_say_signs_in_too(case: str) -> None:
    assert finished(ALSO_GOOD[case]).person.subject == "ann"


FORGED = {
    "another key": (id_token(sign=rs256(OTHER_RSA)), "not signed by the provider"),
    "unsigned": (id_token({"alg": "none"}, lambda _: b"-"), "algorithm"),
    "the public key as an HMAC secret": (id_token({"alg": "HS256"}, hs256(pem(RSA))), "algorithm"),
    "the client's secret as an HMAC key": (id_token({"alg": "HS256"}, hs256(b"client-secret")), "algorithm"),
    "another family": (id_token({"alg": "ES256"}, es(P256, SHA256())), "publish"),
    "an unknown key": (id_token({"kid": "mine"}), "publish"),
    "another issuer": (id_token(iss="https://id.example/other"), "issuer"),
    "another client": (id_token(aud="other"), "another client"),
    "the API's audience": (id_token(aud=AUDIENCE), "another client"),
    "no audience": (id_token(aud=...), "another client"),
    "two audiences and no azp": (id_token(aud=["console", "other"]), "azp"),
    "issued to another": (id_token(aud=["console", "other"], azp="other"), "azp"),
    "for us alone, issued to another": (id_token(azp="other"), "azp"),
    "an azp that is a list": (id_token(azp=["console"]), "azp"),
    "another nonce": (id_token(nonce="n-1"), "nonce"),
    "no nonce": (id_token(nonce=...), "nonce"),
    "a nonce that is a list": (id_token(nonce=[ID_CLAIMS["nonce"]]), "nonce"),
    "a nonce of another script": (id_token(nonce="\N{SNOWMAN}"), "nonce"),
    "the nonce of another provider": (id_token(nonce=ATTEMPT.nonce("other")), "nonce"),
    "another access token's hash": (id_token(at_hash=half_hash("RS256", "another")), "at_hash"),
    "a hash that is none": (id_token(at_hash=""), "at_hash"),
    "a hash that is null": (id_token(at_hash=None), "at_hash"),
    "the whole hash": (id_token(at_hash=b64url(hashlib.sha256(ACCESS.encode()).digest())), "at_hash"),
    "another code's hash": (id_token(c_hash=half_hash("RS256", "another")), "c_hash"),
    "expired": (id_token(exp=NOW - 30), "expired"),
    "not begun": (id_token(iat=NOW + 31), "not good yet"),
    "no end": (id_token(exp=...), "exp"),
    "good for days": (id_token(exp=NOW + 86400), "longer than"),
    "no subject": (id_token(sub=...), "subject"),
    "an access token": (id_token({"typ": "at+jwt"}), "no ID token"),
    "a logout token": (id_token({"typ": "logout+jwt"}), "no ID token"),
    "a logout token without its type": (id_token(events={"https://logout.example": {}}), "no ID token"),
    "a kind that is a list": (id_token(typ=["ID"], nonce=...), "nonce"),
    "a refresh token": (id_token(typ="Refresh"), "no ID token"),
    "a bearer's token": (id_token(typ="Bearer"), "no ID token"),
    "said twice": (compact('{"alg":"RS256","alg":"none","kid":"rsa"}', ID_CLAIMS, rs256(RSA)), "twice"),
    "an extension": (id_token({"crit": ["b64"], "b64": False}), "crit"),
    "no token": (..., "no ID token: is openid"),
    "a number": (7, "no ID token: is openid"),
    "words": ("words", "three parts"),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_id_token_signs_nobody_in(case: str) -> None:
    text, reason = FORGED[case]
    assert reason in refusal(text)


ANSWERS: dict[str, tuple[dict[str, str], str]] = {
    "another state": ({"state": "guessed"}, "this browser began"),
    "no state": ({"state": ""}, "this browser began"),
    "a state of another script": ({"state": "\N{SNOWMAN}"}, "this browser began"),
    "the state of another provider": ({"state": ATTEMPT.state("other")}, "this browser began"),
    "the state of another browser": ({"state": Attempt.begin(b"t" * 32, NOW).state("corp")}, "this browser began"),
    "another provider's": ({"iss": "https://evil.example"}, "another provider"),
    "refused": ({"error": "access_denied", "error_description": "ann"}, "did not sign you in"),
    "no code": ({"code": ""}, "no code"),
    "a code with a line break": ({"code": "a\nb"}, "no code"),
    "a code without end": ({"code": "x" * 3000}, "no code"),
    "a code of another sign-in": ({"code": "injected"}, "does not take the code"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_of_no_sign_in_of_this_browser_is_refused(case: str) -> None:
    answer, reason = ANSWERS[case]
    assert reason in refusal(id_token(), **answer)


def test_nothing_is_asked_for_an_answer_that_is_not_ours() -> None:
    exchange = Exchange(id_token=id_token())
    with pytest.raises(TokenRefused):
        asyncio.run(console(exchange).finish(ATTEMPT, GOOD | {"state": "guessed"}, NOW))
    assert exchange.asked == []


def test_a_code_is_proved_by_the_verifier_of_this_browser_s_attempt() -> None:
    """RFC 7636: a provider that saw the challenge gives nothing to whoever brings the code without the verifier."""
    exchange, other = Exchange(id_token=id_token()), Attempt.begin(b"t" * 32, NOW)
    flow = console(exchange)
    asked = asked_of(asyncio.run(flow.address(ATTEMPT)))
    exchange.challenge = asked["code_challenge"]
    assert asyncio.run(flow.finish(ATTEMPT, GOOD, NOW)).person.subject == "ann"
    injected = {"state": other.state("corp"), "code": CODE}
    with pytest.raises(TokenRefused, match="does not take the code"):
        asyncio.run(flow.finish(other, injected, NOW))
    exchange.challenge = ""  # a provider without PKCE: the nonce is what is left
    with pytest.raises(TokenRefused, match="nonce"):
        asyncio.run(flow.finish(other, injected, NOW))


def test_what_the_browser_is_sent_with() -> None:
    documents = Documents(**PLACES | {"authorization_endpoint": f"{ISSUER}/authorize?tenant=7"})
    asked = asked_of(asyncio.run(console(Exchange(), documents).address(ATTEMPT)))
    secret = {asked.pop(name) for name in ("state", "nonce", "code_challenge")}
    assert len(secret) == 3 and all(len(each) == 43 for each in secret) and ATTEMPT.verifier("corp") not in secret
    assert asked == {
        "tenant": "7",
        "response_type": "code",
        "client_id": "console",
        "redirect_uri": CLIENT.redirect_uri,
        "scope": "openid",
        "code_challenge_method": "S256",
    }


def test_a_client_shows_its_secret_and_a_public_one_its_name(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    exchange = Exchange(id_token=id_token())
    client = msgspec.structs.replace(CLIENT, client_secret_file="secret")
    asyncio.run(console(exchange, None, client, tmp_path).finish(ATTEMPT, GOOD, NOW))
    asyncio.run(console(exchange).finish(ATTEMPT, GOOD, NOW))
    (_, form, shown), (_, public, nothing) = exchange.asked
    assert shown == ("console", "s3cret") and "client_id" not in form and "s3cret" not in form.values()
    assert nothing is None and public["client_id"] == "console"
    flow = console(exchange, None, client, tmp_path)
    (tmp_path / "secret").unlink()
    with pytest.raises(ProviderUnreachable, match="secret cannot be read"):
        asyncio.run(flow.finish(ATTEMPT, GOOD, NOW))


def test_a_provider_that_is_away_is_no_refusal() -> None:
    exchange = Exchange(id_token=id_token())
    exchange.down = True
    with pytest.raises(ProviderUnreachable, match="refused"):
        asyncio.run(console(exchange).finish(ATTEMPT, GOOD, NOW))


@pytest.mark.parametrize("place", ["http://id.example/token", None, 7])
def test_a_code_is_sent_over_tls_alone(place: object) -> None:
    documents = Documents(**PLACES | {"token_endpoint": place})
    with pytest.raises(ProviderUnreachable, match="no https endpoints"):
        asyncio.run(console(Exchange(), documents).address(ATTEMPT))


LONG = "s" * 43


@pytest.mark.parametrize(
    "kept", ["", f"now.{LONG}", f"{int(NOW)}.short", f"{int(NOW)}", f"{'9' * 20}.{LONG}", f"٣.{LONG}"]
)
def test_what_no_browser_was_given_is_no_attempt(kept: str) -> None:
    assert Attempt.of(kept, NOW) is None


def test_an_attempt_ends() -> None:
    assert Attempt.of(ATTEMPT.kept, NOW + ATTEMPT_S - 1) == ATTEMPT
    assert Attempt.of(ATTEMPT.kept, NOW + ATTEMPT_S) is None is Attempt.of(ATTEMPT.kept, NOW - 1)
    assert ATTEMPT.kept.split(".")[1] not in repr(ATTEMPT)


BAD: list[dict[str, Any]] = [
    {"redirect_uri": "http://vigil.example/console/sign-in/corp/back"},
    {"redirect_uri": "https://vigil.example/console/sign-in/other/back"},
    {"redirect_uri": "https://vigil.example/console/sign-in/corp/back?next=x"},
    {"redirect_uri": "https:///console/sign-in/corp/back"},
    {"client_secret_file": "none"},
    {"scopes": ("profile",)},
]


@pytest.mark.parametrize("wrong", BAD, ids=str)
def test_a_configuration_that_cannot_work_is_named(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="identity provider corp") as refused:
        opened(Exchange(), None, msgspec.structs.replace(CLIENT, **wrong), tmp_path)
    assert refused.value.remedy


def test_the_configuration_is_read_as_it_is_written(tmp_path: Path) -> None:
    written = config(chosen(console=CLIENT), chosen(name="other", issuer="https://other.example"))
    (tmp_path / "authority.toml").write_text(render(written))
    assert load_site(tmp_path).config == written
