"""Binding, opening and refreshing: who opens, who does not, and what a share gives away."""

import msgspec
import numpy as np
import pytest

from agent.profile.commitment import Shares, bind, candidates, candidates_each, parameters_for, refresh
from agent.profile.commitment._shamir import xor
from tests.agent.commitment.rig import CODES, CONTEXT, PEPPER, SIZES, direction, near

RANDOM = np.random.default_rng(7)


@pytest.fixture
def person():
    """Embeddings by modality."""
    return {name: direction(RANDOM, size) for name, size in SIZES.items()}


@pytest.fixture
def profile(person):
    """A root and the shares of face, voice and fingerprint."""
    return bind(person, ["fingerprint"], CODES, PEPPER, CONTEXT, RANDOM.bytes)


def opened(shares: Shares, probes, released=frozenset(), pepper=PEPPER, context=CONTEXT, limit=3):
    return [each.root for each in candidates(shares, probes, released, CODES, pepper, context, limit)]


def presented(person, cosine, *names):
    return {name: near(RANDOM, person[name], cosine) for name in names}


@pytest.mark.parametrize(
    "names", [("face", "voice"), ("face", "fingerprint"), ("voice", "fingerprint"), (*SIZES, "fingerprint")]
)
def test_any_two_modalities_with_a_bound_one_open(person, profile, names):
    root, shares = profile
    found = candidates(
        shares,
        presented(person, 0.85, *SIZES.keys() & set(names)),
        {"fingerprint"} & set(names),
        CODES,
        PEPPER,
        CONTEXT,
    )
    assert found[0].root == root
    assert all(0.0 < distance < 0.3 for distance in found[0].distances.values())
    assert len(found) == 3


def test_many_probes_together_give_what_each_gives_alone(person):
    """At any likeness, and for more than are decoded at once."""
    root, shares = bind({"face": person["face"]}, ["fingerprint"], CODES, PEPPER, CONTEXT, RANDOM.bytes)
    probes = [near(RANDOM, person["face"], cosine) for cosine in np.linspace(0.0, 0.9, 40)]
    together = candidates_each(shares, np.stack(probes), CODES["face"], PEPPER, CONTEXT)
    assert together == [opened(shares, {"face": one}, {"fingerprint"}) for one in probes]
    assert 5 < sum(root in roots for roots in together) < 35


def test_many_probes_are_tried_with_one_modality_of_either_kind(person, profile):
    _, shares = profile
    with pytest.raises(ValueError, match="one bound modality and one released"):
        candidates_each(shares, np.stack([person["face"]]), CODES["face"], PEPPER, CONTEXT)


def test_another_person_does_not_open(person, profile):
    root, shares = profile
    other = {name: direction(RANDOM, size) for name, size in SIZES.items()}
    assert root not in opened(shares, other, {"fingerprint"})
    assert root not in opened(shares, {**other, "face": person["face"]})


def test_one_wrong_modality_of_three_does_not_hinder_the_others(person, profile):
    root, shares = profile
    assert root in opened(shares, {"face": direction(RANDOM, 128), **presented(person, 0.85, "voice")}, {"fingerprint"})


def test_as_many_candidates_come_for_a_stranger_as_for_the_person(person, profile):
    _, shares = profile
    stranger = {name: direction(RANDOM, size) for name, size in SIZES.items()}
    assert len(opened(shares, stranger)) == len(opened(shares, person)) == 3


def test_two_released_modalities_never_open(person):
    _, shares = bind({"face": person["face"]}, ["a", "b"], CODES, PEPPER, CONTEXT, RANDOM.bytes)
    with pytest.raises(ValueError, match="one of them bound"):
        opened(shares, {}, {"a", "b"})


@pytest.mark.parametrize(("bound", "released"), [((), ("a", "b")), (("face",), ()), (("face",), ("face",))])
def test_what_cannot_be_bound_is_refused(person, bound, released):
    with pytest.raises(ValueError, match="two modalities"):
        bind({name: person[name] for name in bound}, released, CODES, PEPPER, CONTEXT, RANDOM.bytes)


@pytest.mark.parametrize("change", [{"context": b"record 2"}, {"pepper": b"q" * 32}])
def test_another_context_or_pepper_opens_nothing(person, profile, change):
    root, shares = profile
    assert root in opened(shares, person, {"fingerprint"})
    assert root not in opened(shares, person, {"fingerprint"}, **change)


def test_shares_of_one_modality_do_not_serve_as_those_of_another(person):
    codes = {"face": CODES["face"], "veil": CODES["face"]}
    twice = {"face": person["face"], "veil": person["face"]}
    root, shares = bind(twice, ["fingerprint"], codes, PEPPER, CONTEXT, RANDOM.bytes)
    swapped = msgspec.structs.replace(shares, bound={"face": shares.bound["veil"], "veil": shares.bound["face"]})
    for made, expected in ((shares, True), (swapped, False)):
        found = candidates(made, {"face": person["face"]}, {"fingerprint"}, codes, PEPPER, CONTEXT)
        assert (root in [each.root for each in found]) is expected


@pytest.mark.parametrize("field", ["salt", "wrapped_x", "wrapped_y"])
def test_a_flipped_bit_opens_nothing(person, profile, field):
    root, shares = profile
    share = shares.bound["face"]
    for bit in range(0, 256, 17):
        flipped = xor(getattr(share, field), (1 << bit).to_bytes(32, "big"))
        changed = msgspec.structs.replace(share, **{field: flipped})
        damaged = msgspec.structs.replace(shares, bound={**shares.bound, "face": changed})
        assert root not in opened(damaged, {"face": person["face"]}, {"fingerprint"})


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_locking_and_unlocking_are_inverse_below_a_fifth_of_wrong_signs(person, count):
    """Of presentations whose signs differ in up to 20 % at least 99.9 % open."""
    tried = failed = 0
    while tried < count:
        root, shares = bind({"face": person["face"]}, ["fingerprint"], CODES, PEPPER, CONTEXT, RANDOM.bytes)
        for cosine in RANDOM.uniform(0.80, 0.95, 50):
            found = candidates(shares, presented(person, cosine, "face"), {"fingerprint"}, CODES, PEPPER, CONTEXT)
            right = [each for each in found if each.root == root]
            if not right or right[0].distances["face"] <= 0.20:
                tried, failed = tried + 1, failed + (not right)
    assert failed <= count // 1000


def test_refreshing_changes_the_root_and_not_who_opens(person, profile):
    root, shares = profile
    for _ in range(3):
        delta, renewed = refresh(shares, RANDOM.bytes)
        assert any(delta)
        root = xor(root, delta)
        for probes, released in (
            (("face", "voice"), set()),
            (("face",), {"fingerprint"}),
            (("voice",), {"fingerprint"}),
        ):
            probe = presented(person, 0.85, *probes)
            assert root in opened(renewed, probe, released)
            assert root not in opened(shares, probe, released), "the old shares open the new root"
        shares = renewed


def test_three_shares_are_small(profile):
    assert len(msgspec.msgpack.encode(profile[1])) <= 1024


def test_nothing_secret_is_shown(profile):
    _, shares = profile
    shown = repr(shares) + repr(shares.bound) + repr(shares.released)
    assert shown.startswith("Shares()") and "salt" not in shown and "\\x" not in shown


def test_shares_of_another_scheme_are_refused(person, profile):
    with pytest.raises(ValueError, match="another scheme"):
        opened(msgspec.structs.replace(profile[1], scheme=99), person)


def test_an_embedding_that_nobody_measured_is_not_bound():
    with pytest.raises(ValueError, match="released, not bound"):
        parameters_for("keystrokes-30")
    assert parameters_for("arcface").n == 512
