"""What the drivers see, when one of them has a defect."""

from __future__ import annotations

import sys
from importlib import invalidate_caches
from pathlib import Path

import pytest

from agent.diagnostics.rendering import NoProgress
from agent.diagnostics.surveying import survey
from agent.diagnostics.watching import watch_all
from hal import DRIVER_GROUP
from tests.agent.diagnostics.trees import Tree

LISTS = "class Driver:\n    kind = 'floor'\n    def list(self, options):\n        "


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A package of a third party that offers the driver `floor-s`."""
    info = folder / "kvt_s-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kvt_s\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{DRIVER_GROUP}]\nfloor-s = kvt_s:Driver\n")
    (folder / "kvt_s.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "kvt_s", raising=False)
    invalidate_caches()


DEFECTS = [
    ("class Driver(:\n", "SyntaxError"),
    ("Driver = 1 / 0\n", "ZeroDivisionError"),
    (LISTS + "{}[1]\n", "KeyError"),
]


@pytest.mark.parametrize(("source", "named"), DEFECTS)
def test_a_defect_of_a_driver_is_its_own_report_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, named: str
) -> None:
    install(tmp_path, monkeypatch, source)
    reports = {report.driver: report for report in survey({}, NoProgress())}
    assert named in reports["floor-s"].error
    assert "did not answer" not in reports["floor-s"].error
    assert reports["floor-s"].remedy
    assert not reports["software"].error


def test_an_enclave_that_was_not_made_yet_is_told_from_one_that_is_missing(tmp_path: Path) -> None:
    def unmade(options: dict[str, str]) -> list[str]:
        return [report.driver for report in survey({"software": options}, NoProgress()) if report.unmade]

    assert unmade({"folder": str(tmp_path / "enclave")}) == ["software"]
    assert unmade({}) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("source", "named"), DEFECTS)
def test_a_defect_of_a_driver_is_told_by_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, named: str
) -> None:
    install(tmp_path, monkeypatch, source)
    changes = watch_all({}, 30, Tree(tmp_path).machine)
    told = next(change for change in changes if change.driver == "floor-s")
    changes.close()
    assert told.error
    assert named in told.text
    assert told.remedy
