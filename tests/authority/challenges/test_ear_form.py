"""Attestation results against the drafts: form by a schema of draft-ietf-rats-ear-04, signature by PyJWT."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jsonschema import Draft202012Validator, ValidationError

from authority import ear, standing
from protocol.messages import Outcome
from tests.authority.challenges.answers import activated, answered
from tests.authority.challenges.ear_form import FORM, KEY, KEYS, SCHEMA, conforms, thumbprint, verified
from tests.authority.nodes import Machine, Site

NONCE = "bm9uY2Utb2YtdGhlaXJz"
SAMPLE: dict[str, Any] = {
    "eat_profile": "tag:ietf.org,2026:rats/ear#04",
    "iat": 1700000000,
    "exp": 1700001200,
    "ear_verifier_id": {"developer": "d", "build": "b"},
    "submods": {
        "node": {
            "ear_status": "affirming",
            "ear_trustworthiness_vector": {"instance-identity": 2},
            "ear_appraisal_policy_ids": ["p"],
            "ear_verifier_claims": {"keyvigil_score": 900},
        }
    },
}


def told(site: Site, node: Machine, **node_values: Any) -> dict[str, Any]:
    """The verified claims about a node, in their form."""
    if node_values:
        site.set_node(node.node_id, **node_values)

    def make(conn: Any, rt: Any, now: float) -> str:
        return ear.signed(conn, replace(rt, ear_key=KEY), node.node_id, now, NONCE)

    found = verified(site.run(make), KEYS)
    conforms(found)
    return found


def vector(found: dict[str, Any], submodule: str) -> dict[str, int]:
    return found["submods"][submodule]["ear_trustworthiness_vector"]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    FORM.validate(SAMPLE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("eat_profile",), "tag:ietf.org,2026:rats/ear#03"),
        (("iat",), "1700000000"),
        (("iat",), 1700000000.5),
        (("iat",), None),
        (("ear_verifier_id", "build"), None),
        (("ear_verifier_id", "other"), "x"),
        (("submods",), {}),
        (("eat_nonce",), "c2hvcnQ"),
        (("eat_nonce",), "A" * 89),
        (("keyvigil_score",), 900),
        (("submods", "node", "ear_status"), "fine"),
        (("submods", "node", "ear_status"), 2),
        (("submods", "node", "ear_status"), None),
        (("submods", "node", "keyvigil_score"), 900),
        (("submods", "node", "ear_appraisal_policy_ids"), []),
        (("submods", "node", "ear_verifier_claims"), {}),
        (("submods", "node", "ear_trustworthiness_vector"), {}),
        (("submods", "node", "ear_trustworthiness_vector"), None),
        (("submods", "node", "ear_trustworthiness_vector", "instance-identity"), 128),
        (("submods", "node", "ear_trustworthiness_vector", "instance-identity"), "2"),
        (("submods", "node", "ear_trustworthiness_vector", "instance_identity"), 2),
    ],
)
def test_the_schema_refuses_what_the_drafts_do(path: tuple[str, ...], value: object) -> None:
    changed: Any = copy.deepcopy(SAMPLE)
    at = changed
    for name in path[:-1]:
        at = at[name]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    with pytest.raises(ValidationError):
        FORM.validate(changed)


def test_a_status_that_says_more_than_its_vector_is_found() -> None:
    changed = copy.deepcopy(SAMPLE)
    changed["submods"]["node"]["ear_trustworthiness_vector"]["configuration"] = 96
    with pytest.raises(AssertionError):
        conforms(changed)


def test_every_verdict_has_the_drafts_form(site: Site, enrolled: Machine) -> None:
    """From a node that nobody answered for to one that is retired, as an operator would see them come."""
    assert vector(told(site, enrolled), "admin") == {"instance-identity": 0}
    for _ in range(3):
        assert answered(site, enrolled) is Outcome.ACCEPTED
        site.clock += 3600
    accepted = told(site, enrolled)
    assert accepted["eat_nonce"] == NONCE and vector(accepted, "admin") == {"instance-identity": 2}
    activation = activated(site, enrolled)
    wrong = enrolled.evidence(enrolled.claims(activation), quote=enrolled.quote(bytes(32)))
    assert enrolled.submit(site, activation.challenge_id, wrong).outcome is Outcome.REJECTED
    failed = told(site, enrolled)
    assert vector(failed, "admin") == {"instance-identity": 97}
    assert vector(failed, "node")["configuration"] == 96
    site.clock += 6 * 86400
    assert vector(told(site, enrolled), "node")["configuration"] in {0, 96}
    for action in (standing.ban, standing.retire):
        site.run(action, enrolled.node_id, "ada", "stolen")
        assert vector(told(site, enrolled), "node")["instance-identity"] == 96


def test_every_kind_of_enclave_and_measurement_has_the_drafts_form(site: Site, enrolled: Machine) -> None:
    assert answered(site, enrolled) is Outcome.ACCEPTED
    production = vector(told(site, enrolled, lab=False, nv_counter=3), "node")
    assert production == {"instance-identity": 2, "hardware": 2, "configuration": 2, "executables": 3}
    for kind in ("pkcs11", "software"):
        assert vector(told(site, enrolled, enclave_kind=kind), "node") == {"instance-identity": 2}


def test_the_published_key_is_named_by_its_thumbprint() -> None:
    [key] = KEYS["keys"]
    assert key["kid"] == thumbprint(key)


def test_another_key_or_algorithm_verifies_nothing(site: Site, enrolled: Machine) -> None:
    token = site.run(lambda conn, rt, now: ear.signed(conn, replace(rt, ear_key=KEY), enrolled.node_id, now))
    stranger = ear.jwks(ec.generate_private_key(ec.SECP256R1()))
    stranger["keys"][0]["kid"] = KEYS["keys"][0]["kid"]
    with pytest.raises(jwt.InvalidSignatureError):
        verified(token, stranger)
    body = json.loads(json.dumps(verified(token, KEYS)))
    unsigned = jwt.encode(body, None, "none", {"typ": "eat+jwt", "kid": KEYS["keys"][0]["kid"]})
    with pytest.raises((jwt.InvalidTokenError, AssertionError)):
        verified(unsigned, KEYS)
