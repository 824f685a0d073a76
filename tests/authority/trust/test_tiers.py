"""The requirement's tiers, to the letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authority.trust import choose_version, distribute_key, effective_access, tier_of
from protocol.levels import Access, NodeState, Rotation, Tier, VersionState

HIGH = (Tier.HIGH, VersionState.LATEST, Rotation.STANDARD, Access.FULL, False)
MEDIUM = (Tier.MEDIUM, VersionState.PREVIOUS, Rotation.INCREASED, Access.LIMITED, False)
LOW = (Tier.LOW, VersionState.OUTDATED, Rotation.VERY_FAST, Access.RESTRICTED, True)


def granted(score: int) -> tuple[Tier, VersionState, Rotation, Access, bool]:
    grant = distribute_key(score)
    return grant.tier, grant.version, grant.rotation, grant.access, grant.alert


@pytest.mark.parametrize(
    ("score", "expected"),
    [(1000, HIGH), (801, HIGH), (800, MEDIUM), (501, MEDIUM), (500, LOW), (499, LOW), (0, LOW)],
)
def test_the_boundaries(score: int, expected: object) -> None:
    assert granted(score) == expected


@given(st.integers(0, 1000))
def test_every_score_gets_its_tier(score: int) -> None:
    assert granted(score) == (HIGH if score > 800 else MEDIUM if score > 500 else LOW)


@pytest.mark.parametrize("score", [-1, 1001])
def test_a_score_out_of_range_is_refused(score: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 1000"):
        tier_of(score)


@given(st.integers(0, 1000), st.dictionaries(st.sampled_from(VersionState), st.integers(1, 9)))
def test_a_missing_version_means_no_key_and_never_a_newer_one(score: int, versions: dict[VersionState, int]) -> None:
    grant = distribute_key(score)
    assert choose_version(grant, versions) == versions.get(grant.version)


@pytest.mark.parametrize("state", NodeState)
def test_only_states_that_stand_open_anything(state: NodeState) -> None:
    cut_off = state in {NodeState.PENDING, NodeState.ISOLATED, NodeState.BANNED, NodeState.RETIRED}
    assert effective_access(state, distribute_key(900)) is (Access.ISOLATED if cut_off else Access.FULL)


ALL = {VersionState.OUTDATED: 1, VersionState.PREVIOUS: 2, VersionState.LATEST: 3, VersionState.STAGED: 4}
AGE = [VersionState.STAGED, VersionState.LATEST, VersionState.PREVIOUS, VersionState.OUTDATED]


@given(st.integers(0, 999))
def test_more_trust_never_opens_less_and_less_trust_never_gets_a_newer_version(score: int) -> None:
    lower, higher = distribute_key(score), distribute_key(score + 1)
    assert AGE.index(lower.version) >= AGE.index(higher.version)
    order = [Access.ISOLATED, Access.RESTRICTED, Access.LIMITED, Access.FULL]
    assert order.index(lower.access) <= order.index(higher.access)
    pace = [Rotation.VERY_FAST, Rotation.INCREASED, Rotation.STANDARD]
    assert pace.index(lower.rotation) <= pace.index(higher.rotation)
    assert lower.alert or not higher.alert


@given(st.floats(0, 1, allow_nan=False))
def test_a_boundary_belongs_to_the_lower_tier_in_thousandths_as_in_the_requirement(share: float) -> None:
    """The requirement compares the score itself: > 0.8, > 0.5. Scores are kept in whole thousandths."""
    thousandths = round(share * 1000)
    expected = HIGH if thousandths / 1000 > 0.8 else MEDIUM if thousandths / 1000 > 0.5 else LOW
    assert granted(thousandths) == expected


@given(st.integers(0, 1000), st.sets(st.sampled_from([*ALL])))
def test_whatever_versions_are_missing_nobody_gets_one_that_is_not_its_own(
    score: int, missing: set[VersionState]
) -> None:
    there = {state: number for state, number in ALL.items() if state not in missing}
    grant = distribute_key(score)
    chosen = choose_version(grant, there)
    assert chosen in {None, ALL[grant.version]}
    assert (chosen is None) is (grant.version in missing)
    assert chosen != ALL[VersionState.STAGED]
