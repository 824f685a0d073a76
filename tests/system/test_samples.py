"""Samples over whole processes: one given before is refused, and what was committed to can be opened with consent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from authority.samples import RESUBMITTED
from protocol.codec import decode, encode
from protocol.messages import Outcome
from protocol.openings import Opening
from simulators.lab.insider import Insider
from simulators.lab.processes import command, run
from tests.system.harness import Site, name_for, refused

pytestmark = pytest.mark.system

Insiders = Callable[[Site, str], Insider]


def sample() -> list[bytes]:
    return [os.urandom(64), os.urandom(64)]


def check(site: Site, file: Path) -> list[str]:
    return ["audit", "open", "--opening", str(file), "--state", str(site.authority.state), "--json"]


def written(folder: Path, opening: Opening, **changes: object) -> Path:
    file = folder / "opening.json"
    file.write_bytes(encode(msgspec.structs.replace(opening, **changes)))
    return file


@pytest.fixture
def trusted(site: Site, insider: Insiders, request: pytest.FixtureRequest) -> Insider:
    return insider(site, name_for(request.node.name)).join().enrol()


def test_a_sample_given_before_is_refused_and_only_the_authority_knows_why(site: Site, trusted: Insider) -> None:
    finger, face = sample()
    for samples, outcome in (
        ([finger, face], Outcome.ACCEPTED),
        (sample(), Outcome.ACCEPTED),
        ([sample()[0], face], Outcome.REJECTED),
    ):
        mark, activation = site.since(), trusted.begin()
        claims, _ = trusted.sampled(activation, samples)
        verdict = trusted.submit(trusted.evidence(claims), activation.challenge_id)
        assert verdict.outcome is outcome
    assert verdict.reason == "evidence refused"
    assert mark.audited("rejected", challenge=activation.challenge_id)["data"]["reason"] == RESUBMITTED
    mark.alerted("evidence-refused", trusted.name)


def test_an_opening_holds_against_the_audited_commitment_and_no_other_does(
    site: Site, trusted: Insider, tmp_path: Path
) -> None:
    activation = trusted.begin()
    claims, (_, face) = trusted.sampled(activation, sample())
    trusted.submit(trusted.evidence(claims), activation.challenge_id)
    found = json.loads(run([command("keyvigil-authority"), *check(site, written(tmp_path, face))]))
    assert (found["holds"], found["modality"], found["commitment"]) == (True, "face", claims.commitment.hex())
    for changes, says in (
        ({"features": os.urandom(64)}, "not those that were committed to"),
        ({"leaves": [os.urandom(32), face.leaves[1]]}, "another commitment"),
    ):
        said = refused("keyvigil-authority", *check(site, written(tmp_path, face, **changes)))
        assert says in said.error
    later = trusted.begin()
    (_, lied) = trusted.sampled(later, sample())[1]
    assert "no evidence" in refused("keyvigil-authority", *check(site, written(tmp_path, lied))).error


def test_a_person_s_opening_goes_from_the_node_to_the_auditor(site: Site, tmp_path: Path) -> None:
    """By the commands, from a genuine presentation, with the administrator's word."""
    (node,) = site.world.nodes
    assert site.ended(node.name, site.challenge(node.name), 60) == "accepted"
    challenge = site.node(node.name)["challenge"]["id"]
    own = ["--config", str(node.config), "--json"]
    kept = json.loads(run([command("keyvigil"), "audit", "list", *own], env=node.environment()))["openings"]
    assert challenge in [each["challenge_id"] for each in kept]
    file = tmp_path / "voice.json"
    opening = ["audit", "open", challenge, "--modality", "voice", "--out", str(file), *own]
    assert "nobody agreed" in refused("keyvigil", *opening, env=node.environment()).error
    assert not file.exists()
    run([command("keyvigil"), *opening, "--i-have-consent"], env=node.environment())
    found = json.loads(run([command("keyvigil-authority"), *check(site, file)]))
    assert found["holds"] is True and found["model"].startswith("campplus-192/")
    changed = decode(file.read_bytes(), Opening)
    turned = bytes([changed.features[0] ^ 1]) + changed.features[1:]
    said = refused("keyvigil-authority", *check(site, written(tmp_path, changed, features=turned)))
    assert "not those that were committed to" in said.error
