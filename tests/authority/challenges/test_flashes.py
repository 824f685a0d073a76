"""Flashes: drawn for a screen only, and demanded of a face only where the policy does."""

from __future__ import annotations

import msgspec
import pytest

from authority import challenges, drawing
from authority.trust import parse_policy
from authority.trust.policy import ChallengeRules
from protocol.codec import decode, encode
from protocol.flashes import Hue
from protocol.messages import Activation, BeginRequest, FlashClaim, Outcome
from tests.authority.challenges.answers import activated, reasons
from tests.authority.nodes import Machine, Site, model, sensor

SCREEN = FlashClaim(count=4, driver="framebuffer", driver_sha256="0" * 64, transport="fbdev")
FEWER = msgspec.structs.replace(SCREEN, count=3)
SIMULATED = msgspec.structs.replace(SCREEN, transport="virtual")
UNSAID = msgspec.UNSET


def ruled(site: Site, keys: str) -> Site:
    rules = parse_policy(f'version = "1"\n[challenge]\n{keys}').challenge
    site.policy = msgspec.structs.replace(site.policy, challenge=rules)
    return site


@pytest.fixture
def drawing_site(site: Site) -> Site:
    return ruled(site, "flashes = 4")


@pytest.fixture
def demanding(site: Site) -> Site:
    return ruled(site, "flashes = 4\nrequire_flashes = true")


def begun(site: Site, node: Machine, screen: bool | msgspec.UnsetType) -> Activation:
    request = BeginRequest(record_id=node.record_id, screen=screen)
    return site.run(challenges.begin, node.node_id, site.summon(node.node_id), request)


def outcome(site: Site, node: Machine, flashes: FlashClaim | msgspec.UnsetType, *names: str) -> Outcome:
    activation = activated(site, node)
    said = {"modalities": [model(name) for name in names], "sensors": [sensor(name) for name in names]} if names else {}
    claims = node.claims(activation, flashes=flashes, **said)
    return node.submit(site, activation.challenge_id, node.evidence(claims)).outcome


def test_a_node_with_a_screen_gets_as_many_hues_as_the_policy_wants(drawing_site: Site, enrolled: Machine):
    activation = begun(drawing_site, enrolled, True)
    assert activation.flashes is not msgspec.UNSET
    assert len(activation.flashes) == 4
    assert {*activation.flashes} <= {*Hue}


@pytest.mark.parametrize("screen", [False, UNSAID])
def test_no_other_node_gets_any_and_what_it_gets_has_no_further_field(drawing_site: Site, enrolled: Machine, screen):
    """A node of before there were flashes refuses a field that it does not know."""
    activation = begun(drawing_site, enrolled, screen)
    assert activation.flashes is msgspec.UNSET
    assert b"flashes" not in encode(activation)


def test_by_default_none_are_drawn(site: Site, enrolled: Machine):
    assert ChallengeRules().flashes == 0
    assert b"flashes" not in encode(begun(site, enrolled, True))


def test_they_differ_from_time_to_time_and_are_not_in_the_summons(drawing_site: Site):
    drawn = {tuple(drawing.draw_flashes(drawing_site.rt)) for _ in range(3000)}  # type: ignore[arg-type]
    assert len(drawn) > 400


def test_an_activation_carries_no_more_than_can_be_drawn(drawing_site: Site, enrolled: Machine):
    activation = begun(drawing_site, enrolled, True)
    crowded = msgspec.structs.replace(activation, flashes=["red"] * 9)
    assert decode(encode(activation), Activation) == activation
    with pytest.raises(ValueError, match="length"):
        decode(encode(crowded), Activation)


@pytest.mark.parametrize("flashes", [UNSAID, SCREEN, FEWER, SIMULATED])
def test_where_they_are_not_demanded_a_face_counts_without(drawing_site: Site, enrolled: Machine, flashes):
    assert outcome(drawing_site, enrolled, flashes) is Outcome.ACCEPTED


@pytest.mark.parametrize("flashes", [UNSAID, FEWER])
def test_where_they_are_demanded_a_face_without_counts_for_nothing(demanding: Site, enrolled: Machine, flashes):
    assert outcome(demanding, enrolled, flashes) is Outcome.REJECTED
    unlit = "the face does not count: it was not judged by the colours that the policy demands"
    assert reasons(demanding) == [f"too few modalities; {unlit}"]
    assert outcome(demanding, enrolled, SCREEN) is Outcome.ACCEPTED


def test_a_simulated_screen_counts_in_the_lab_only(demanding: Site, enrolled: Machine):
    assert outcome(demanding, enrolled, SIMULATED) is Outcome.ACCEPTED
    demanding.set_node(enrolled.node_id, lab=False)
    assert outcome(demanding, enrolled, SIMULATED) is Outcome.REJECTED
    assert outcome(demanding, enrolled, SCREEN) is Outcome.ACCEPTED


def test_whoever_answers_without_the_face_needs_no_screen(demanding: Site, enrolled: Machine):
    assert outcome(demanding, enrolled, UNSAID, "fingerprint", "voice") is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("flashes = 2", "0 or between 3 and 8"),
        ("flashes = 9", "between 0 and 8"),
        ("flashes = -1", "between 0 and 8"),
        ("require_flashes = true", "never draws"),
        ('flashes = "4"', "int"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(keys: str, problem: str):
    with pytest.raises(Exception, match=problem):
        parse_policy(f'version = "1"\n[challenge]\n{keys}')
