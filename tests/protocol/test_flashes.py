"""Rows of hues: as many as said, each of which shows as a change, and bounded on the wire."""

from __future__ import annotations

import msgspec
import pytest

from protocol.codec import ProtocolViolation, decode, encode
from protocol.flashes import FEWEST_FLASHES, MOST_FLASHES, Hue, flash_row, flash_rows
from protocol.messages import BeginRequest, FlashClaim

CLAIM = FlashClaim(count=4, driver="framebuffer", driver_sha256="0" * 64, transport="fbdev")


@pytest.mark.parametrize(("count", "rows"), [(3, 120), (4, 480), (5, 1920), (6, 7680), (7, 30_720), (8, 122_880)])
def test_so_many_rows_may_be_drawn(count: int, rows: int) -> None:
    assert flash_rows(count) == rows
    if rows <= 7680:
        assert len({flash_row(number, count) for number in range(rows)}) == rows


@pytest.mark.parametrize("count", range(FEWEST_FLASHES, MOST_FLASHES + 1))
def test_of_three_in_a_row_no_two_are_alike(count: int) -> None:
    for number in range(0, flash_rows(count), max(1, flash_rows(count) // 500)):
        row = flash_row(number, count)
        assert len(row) == count
        assert all(len({*row[at : at + 3]}) == 3 for at in range(count - 2))


def test_every_hue_comes_as_often_as_any_other_at_every_place() -> None:
    rows = [flash_row(number, 4) for number in range(flash_rows(4))]
    for place in range(4):
        assert {sum(row[place] is hue for row in rows) for hue in Hue} == {80}


@pytest.mark.parametrize(("number", "count"), [(0, 2), (0, 9), (-1, 4), (480, 4)])
def test_what_cannot_be_drawn_is_an_error(number: int, count: int) -> None:
    with pytest.raises(ValueError, match="flashes"):
        flash_row(number, count)


def test_a_node_without_a_screen_asks_as_it_always_did() -> None:
    assert encode(BeginRequest(record_id="r")) == b'{"record_id":"r"}'
    assert encode(BeginRequest(record_id="r", screen=True)) == b'{"record_id":"r","screen":true}'


@pytest.mark.parametrize("changes", [{"count": 0}, {"count": 9}, {"count": True}, {"driver": "x" * 65}, {"more": 1}])
def test_a_malformed_claim_is_refused(changes: dict[str, object]) -> None:
    sound = msgspec.structs.asdict(CLAIM)
    assert decode(msgspec.json.encode(sound), FlashClaim) == CLAIM
    with pytest.raises(ProtocolViolation):
        decode(msgspec.json.encode(sound | changes), FlashClaim)
