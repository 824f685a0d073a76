"""How many NV indices still fit, as a TPM's properties tell it. Measured on swtpm 0.7: a PIN-fail index is refused with
two counters there and room for six more, an index of any kind with room for none."""

from __future__ import annotations

import pytest

from drivers.tpm2._status import free_indices

MOST, THERE, FREE = 0x116, 0x20A, 0x20B


@pytest.mark.parametrize(
    ("there", "free", "left"), [(0, 25, 17), (2, 25, 19), (2, 7, 1), (2, 6, 0), (2, 5, 0), (8, 1, 1), (935, 0, 0)]
)
def test_what_is_kept_for_counters_is_not_given_to_others(there: int, free: int, left: int) -> None:
    assert free_indices({MOST: 0}, {THERE: there, FREE: free}) == left


@pytest.mark.parametrize(
    ("fixed", "now"),
    [({MOST: 8}, {THERE: 2, FREE: 6}), ({}, {THERE: 2, FREE: 6}), ({MOST: 0}, {}), ({MOST: 0}, {FREE: 0})],
)
def test_a_tpm_that_counts_otherwise_or_does_not_tell_is_not_judged(fixed: dict[int, int], now: dict[int, int]) -> None:
    assert free_indices(fixed, now) is None
