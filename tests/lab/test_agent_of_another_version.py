"""Agents of another version in the laboratory: their program runs, and their drivers' hashes are pinned."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hal import available_drivers
from simulators.lab.drivers_of import driver_hashes
from simulators.lab.processes import AGENT_VARIABLE, LabError, command

OWN = {name: driver.sha256 for name, driver in available_drivers().items()}


def test_by_itself_it_is_this_installation_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(AGENT_VARIABLE, raising=False)
    assert Path(command("keyvigil")).parent == Path(sys.executable).parent
    assert driver_hashes(command("keyvigil")) == OWN


def test_another_program_is_asked_for_its_own_hashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real program under another name, which says what it has, and one that has another driver."""
    other, changed = tmp_path / "keyvigil", tmp_path / "changed"
    other.symlink_to(Path(sys.executable).parent / "keyvigil")
    changed.write_text(f'#!/bin/sh\n{other} "$@" | sed s/{OWN["uru4000"]}/{"f" * 64}/g\n')
    changed.chmod(0o755)
    for program, expected in ((other, OWN["uru4000"]), (changed, "f" * 64)):
        monkeypatch.setenv(AGENT_VARIABLE, str(program))
        assert command("keyvigil") == str(program)
        assert driver_hashes(command("keyvigil"))["uru4000"] == expected
        assert Path(command("keyvigil-authority")).parent == Path(sys.executable).parent


def test_what_is_no_program_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AGENT_VARIABLE, "/nowhere/keyvigil")
    with pytest.raises(LabError, match="names no program") as refused:
        command("keyvigil")
    assert "unset" in refused.value.remedy
