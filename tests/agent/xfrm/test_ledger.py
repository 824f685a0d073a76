"""What the xfrm sink remembers on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import StateError
from agent.sinks.xfrm.ledger import Ledger, NetworkNote

A, B, C = (bytes([number]) * 16 for number in (1, 2, 3))
YEAR = 365 * 86_400.0
NOW = 2e9


def test_what_was_recorded_is_known_after_a_restart(tmp_path: Path) -> None:
    Ledger(tmp_path / "x").record([A, B], NOW + 60, NOW)
    assert Ledger(tmp_path / "x").used().keys() == {A, B}


def test_a_line_that_a_crash_tore_costs_only_itself(tmp_path: Path) -> None:
    Ledger(tmp_path / "x").record([A, B], NOW + 60, NOW)
    used = tmp_path / "x" / "used"
    used.write_bytes(used.read_bytes()[:-7])
    torn = Ledger(tmp_path / "x")
    assert torn.used().keys() == {A}
    torn.record([C], NOW + 60, NOW)
    assert Ledger(tmp_path / "x").used().keys() == {A, C}


def test_a_key_is_written_once_until_its_lease_has_grown(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x")
    for _ in range(3):
        ledger.record([A], NOW + 60, NOW)
    size = (tmp_path / "x" / "used").stat().st_size
    ledger.record([A], NOW + YEAR, NOW)
    assert (tmp_path / "x" / "used").stat().st_size == 2 * size
    assert Ledger(tmp_path / "x").used()[A] >= NOW + YEAR


def test_keys_whose_leases_ended_long_ago_are_forgotten_once_they_are_most(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x")
    old = [number.to_bytes(16, "big") for number in range(3000)]
    ledger.record(old, NOW, NOW)
    ledger.record([A], NOW + 86_400, NOW + 86_400)
    assert len(Ledger(tmp_path / "x").used()) == 3001
    ledger.record([B], NOW + YEAR, NOW + YEAR)
    assert Ledger(tmp_path / "x").used().keys() == {B}


def test_damage_is_an_error_and_never_an_empty_ledger(tmp_path: Path) -> None:
    Ledger(tmp_path / "x").record([A, B], NOW + 60, NOW)
    (tmp_path / "x" / "used").write_bytes(b"?" * 94)
    with pytest.raises(StateError, match="damaged") as refusal:
        Ledger(tmp_path / "x").used()
    assert "rotate" in refusal.value.remedy


def test_a_ledger_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file where the folder should be")
    with pytest.raises(StateError):
        Ledger(tmp_path / "x").record([A], NOW + 60, NOW)


def test_notes_come_and_go(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x")
    note = NetworkNote(7, [3], NOW)
    ledger.note("blue", note)
    assert Ledger(tmp_path / "x").notes() == {"blue": note}
    ledger.note("blue", None)
    ledger.note("blue", None)
    assert ledger.notes() == {}
