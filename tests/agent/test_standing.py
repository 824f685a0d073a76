from __future__ import annotations

import pytest

from agent.errors import StateError
from agent.standing import StandingBook
from agent.state import StateDirectory
from protocol.levels import Access, Rotation, Tier
from protocol.messages import StatusEvent

STATUS = StatusEvent(state="active", score=950, tier=Tier.HIGH, access=Access.FULL, rotation=Rotation.STANDARD)


def test_a_damaged_standing_is_named_when_read_and_written_anew_when_told(state: StateDirectory) -> None:
    """It holds only what the authority said last: a damaged copy must not spoil a verdict that has just come."""
    book = StandingBook(state, lambda: 5.0)
    state.standing.write_bytes(b'{"status": ')
    with pytest.raises(StateError, match="damaged"):
        book.read()
    book.note_status(STATUS)
    assert book.read().status == STATUS
