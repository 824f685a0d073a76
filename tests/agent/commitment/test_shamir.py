"""Shares of Y: any two give it, one says nothing."""

from itertools import combinations

import numpy as np
import pytest

from agent.profile.commitment._shamir import joined, line


def test_any_two_shares_give_the_secret():
    random = np.random.default_rng(1)
    secret, slope = random.bytes(32), random.bytes(32)
    places = [1, 2, 3, 200, 255]
    shares = list(zip(places, line(secret, slope, places), strict=True))
    for one, other in combinations(shares, 2):
        assert joined(one, other) == joined(other, one) == secret


def test_one_share_of_a_fixed_secret_is_uniform():
    random = np.random.default_rng(2)
    shares = [line(b"\x17", random.bytes(1), [2])[0][0] for _ in range(25_600)]
    counts = np.bincount(shares, minlength=256)
    assert ((counts - 100) ** 2 / 100).sum() < 330.5, "chi-square, 255 degrees of freedom, one in a thousand"


def test_a_share_of_a_line_without_slope_is_no_secret():
    """The control: what the test above counts is not uniform by itself."""
    assert {line(b"\x17", b"\x00", [2])[0][0] for _ in range(100)} == {0x17}


@pytest.mark.parametrize("places", [[0, 1], [1, 1], [1, 256]])
def test_places_that_make_no_shares_are_refused(places):
    with pytest.raises(ValueError, match="different places"):
        line(bytes(2), bytes(2), places)
