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
