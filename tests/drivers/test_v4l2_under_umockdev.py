"""Runs the suites that need a V4L2 node in a process that sees one, and reports what came of each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from simulators.devices.v4l2 import PRELOAD

HERE = Path(__file__).parent
SUITES = {
    "contract": HERE / "test_camera_contract.py",
    "faults": HERE / "test_camera_faults.py",
    "nodes": HERE / "v4l2",
}


@pytest.mark.parametrize("suite", SUITES)
def test_suite_passes_on_v4l2_nodes(suite: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("passed_inside", passed_inside(suite, "not slow and not hardware", tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("suite", SUITES)
def test_slow_suite_passes_on_v4l2_nodes(
    suite: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("passed_inside", passed_inside(suite, "slow", tmp_path))


def passed_inside(suite: str, marks: str, folder: Path) -> int:
    """How many tests passed inside; fails with the inner report unless every one that was found did."""
    report = folder / "inside.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-k", "v4l2", "-m", marks, "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, f"--junitxml={report}", str(SUITES[suite])],
        cwd=HERE.parents[1],
        env={**os.environ, "LD_PRELOAD": PRELOAD},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{suite} under umockdev:\n{run.stdout[-20_000:]}\n{run.stderr[-2000:]}"
    (totals,) = ElementTree.parse(report).iter("testsuite")
    count = {name: int(totals.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    sys.stdout.write(f"{suite} under umockdev: {count}\n")
    assert count["tests"] > 0
    assert count["failures"] == count["errors"] == count["skipped"] == 0
    return count["tests"]
