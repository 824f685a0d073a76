"""The lab's network over ESP: an authority, agents and packets as processes on a kernel that has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from simulators.lab import user_mode
from simulators.lab.cli import cli

pytestmark = [pytest.mark.uml, pytest.mark.slow, pytest.mark.timeout(3600)]


def test_rotations_lose_nothing_and_a_failing_node_is_cut_off(tmp_path: Path) -> None:
    if reason := user_mode.missing():
        pytest.skip(reason)
    report, picture = tmp_path / "report.json", tmp_path / "picture.png"
    chosen = {"--sink": "xfrm", "--nodes": 3, "--rotations": 5, "--period": 8, "--demotions": 1, "--rate": 10}
    chosen |= {"--json": report, "--picture": picture}
    done = CliRunner().invoke(cli, ["network", *(str(part) for each in chosen.items() for part in each)])
    assert done.exit_code == 0, done.output[-4000:]
    found = json.loads(report.read_text())
    assert (found["sink"], found["rotations"], found["lost"], found["duplicated"]) == ("xfrm", 5, 0, 0)
    assert found["sent"] > 500
    assert found["cut_s"]["n"] == found["cut_unheeded_s"]["n"] == found["back_s"]["n"] / 2 == 1
    assert picture.read_bytes().startswith(b"\x89PNG")
