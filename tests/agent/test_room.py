"""What an enclave says of its room, and what of that keeps an enrolment from beginning."""

from __future__ import annotations

from typing import Any

import pytest

from agent.room import NoRoom, check_room
from hal import Capability, EnclaveStatus, Unsupported


class _Said:
    """An enclave that tells how many counters still fit, or does not tell it, or has no guards."""

    def __init__(
        self, free: int | None, counters: int | None = None, *, guards: bool = True, tells: bool = True
    ) -> None:
        self.info: Any = self
        self.capabilities = frozenset({Capability.GUARD} if guards else ())
        self._free, self._counters, self._tells = free, counters, tells

    def status(self) -> EnclaveStatus:
        if not self._tells:
            raise Unsupported("status")
        return EnclaveStatus("", "", "", free_counters=self._counters, free_indices=self._free)


@pytest.mark.parametrize(("free", "first"), [(0, False), (0, True), (1, True)])
def test_a_profile_that_does_not_fit_is_refused_with_both_numbers(free: int, first: bool) -> None:
    with pytest.raises(NoRoom, match=f"room for {free} more NV indices, and a profile needs {2 if first else 1}"):
        check_room(_Said(free), first=first)  # type: ignore[arg-type]


def test_a_floor_that_does_not_fit_is_refused_for_the_first_profile_only() -> None:
    with pytest.raises(NoRoom, match="no room for another NV counter"):
        check_room(_Said(None, 0), first=True)  # type: ignore[arg-type]
    check_room(_Said(None, 0), first=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "first"),
    [
        (_Said(1), False),
        (_Said(2), True),
        (_Said(None), True),
        (_Said(0, guards=False), True),
        (_Said(0, tells=False), True),
    ],
)
def test_one_that_fits_or_of_which_nothing_is_known_goes_on(said: Any, first: bool) -> None:
    check_room(said, first=first)
