"""What the house promises about its own files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def named_tests(text: str) -> list[str]:
    """Test paths that a page names."""
    return re.findall(r"`(tests/[\w./-]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    assert [name for name in named_tests(page.read_text()) if not (ROOT / name).exists()] == []


def test_the_threat_model_names_tests_so_the_check_has_something_to_check() -> None:
    assert len(named_tests((ROOT / "docs/threat-model.md").read_text())) >= 8


def rows_without_a_test(text: str) -> list[str]:
    """Rows of the threat model's tables whose last column names no test."""
    rows = [line for line in text.splitlines() if line.startswith("|") and not set(line) <= set("|-")]
    return [row for row in rows if not row.endswith("| test |") and not named_tests(row.rpartition(" | ")[2])]


def test_every_row_of_the_threat_model_names_its_test() -> None:
    assert rows_without_a_test((ROOT / "docs/threat-model.md").read_text()) == []
    assert rows_without_a_test("| who | test |\n|---|---|\n| a thief | trust us |\n") == ["| a thief | trust us |"]


def test_every_test_that_the_threat_model_names_holds_tests() -> None:
    named = {ROOT / name for name in named_tests((ROOT / "docs/threat-model.md").read_text())}
    files = [each for each in named if each.suffix == ".py"]
    assert [each for each in files if "\ndef test_" not in each.read_text()] == []
    flaws = {each.name for each in (ROOT / "tests/security").glob("test_*.py")}
    assert flaws <= {each.name for each in files}, "a flaw's test that the threat model does not name"


@pytest.mark.parametrize("benchmark", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda each: each.name)
def test_a_benchmark_finds_what_it_takes_from_the_tests(benchmark: Path) -> None:
    """The command of its first lines has the benchmark's folder on the path, and not the one around it."""
    text = benchmark.read_text()
    taken = re.search(r"^from tests\b", text, re.MULTILINE) if "__main__" in text else None
    assert taken is None or "sys.path.insert" in text[: taken.start()]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_pin_by_hash_and_name_no_address(lock: Path) -> None:
    text = lock.read_text()
    pins = [block for block in re.split(r"\n(?=\S)", text.replace("\\\n", " ")) if block.strip()]
    assert pins
    assert [pin.split()[0] for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
    assert "://" not in text


def test_the_authority_s_lock_agrees_with_the_full_one() -> None:
    def versions(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))

    assert versions("authority.txt") <= versions("all.txt")


def test_every_folder_of_the_project_ships() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    folders = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests"}
    assert {pattern.removesuffix("*") for pattern in patterns} == folders
