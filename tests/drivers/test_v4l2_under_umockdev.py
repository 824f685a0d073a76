"""Runs the suites that need a V4L2 node in a process that sees one, and reports what came of each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Inside]]:
    """Every suite at once: they wait most of their time."""
    running = {name: Inside(name, "not slow and not hardware", tmp_path_factory.mktemp(name)) for name in SUITES}
    yield running
    for inside in running.values():
        inside.end()


@pytest.mark.parametrize("suite", SUITES)
def test_suite_passes_on_v4l2_nodes(
    suite: str, quick: dict[str, Inside], record_property: Callable[[str, object], None]
) -> None:
    record_property("passed_inside", quick[suite].passed())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("suite", SUITES)
def test_slow_suite_passes_on_v4l2_nodes(
    suite: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("passed_inside", Inside(suite, "slow", tmp_path).passed())


class Inside:
    """One suite in a process that sees simulated nodes."""

    def __init__(self, suite: str, marks: str, folder: Path) -> None:
        self._suite, self._folder = suite, folder
        command = [sys.executable, "-m", "pytest", "-q", "-k", "v4l2", "-m", marks, "-p", "no:cacheprovider"]
        self._output = (folder / "output").open("w+")
        self._process = subprocess.Popen(
            [*command, f"--basetemp={folder}/tmp", f"--junitxml={folder}/report.xml", str(SUITES[suite])],
            cwd=HERE.parents[1],
            env={**os.environ, "LD_PRELOAD": PRELOAD},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def passed(self) -> int:
        """How many tests passed; fails with the inner report unless every one that was found did."""
        self._process.wait()
        self._output.seek(0)
        assert self._process.returncode == 0, f"{self._suite} under umockdev:\n{self._output.read()[-20_000:]}"
        self.end()
        (totals,) = ElementTree.parse(self._folder / "report.xml").iter("testsuite")
        count = {name: int(totals.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
        sys.stdout.write(f"{self._suite} under umockdev: {count}\n")
        assert count["tests"] > 0
        assert count["failures"] == count["errors"] == count["skipped"] == 0
        return count["tests"]

    def end(self) -> None:
        """Leave no process behind, whatever happened."""
        self._process.kill()
        self._process.wait()
        self._output.close()
