"""What a diagnosis runs of drivers that are installed: none whose code is not what the configuration pins."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path

import pytest

from agent.cli import run
from agent.diagnostics.rendering import NoProgress
from agent.diagnostics.surveying import survey
from agent.diagnostics.watching import watch_all
from tests.agent.diagnostics.trees import Tree
from tests.agent.test_config import COMPLETE

NAME = "kvt_swapped"
CODE = "class Driver:\n    kind = 'enclave'\n    def list(self, options):\n        return []\n"


@pytest.fixture
def swapped(tmp_path: Path) -> Iterator[None]:
    """A driver that is installed; whether it ran shows in `sys.modules`."""
    info = tmp_path / f"{NAME}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[keyvigil.drivers]\nswapped = {NAME}:Driver\n")
    (tmp_path / f"{NAME}.py").write_text(CODE)
    sys.path.insert(0, str(tmp_path))
    invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop(NAME, None)


@pytest.mark.usefixtures("swapped")
def test_a_driver_that_is_not_the_pinned_one_is_not_even_asked_what_is_attached() -> None:
    (report,) = [one for one in survey({}, NoProgress(), {"swapped": "0" * 64}) if one.driver == "swapped"]
    assert "0" * 64 in report.error and report.attached == ()
    assert NAME not in sys.modules
    (unpinned,) = [one for one in survey({}, NoProgress()) if one.driver == "swapped"]
    assert (unpinned.error, NAME in sys.modules) == ("", True)


@pytest.mark.usefixtures("swapped")
def test_nor_is_it_watched(tmp_path: Path) -> None:
    machine = Tree(tmp_path / "tree").machine
    assert [
        one for one in watch_all({}, 0.05, machine, {"swapped": "0" * 64}) if one.driver == "swapped" and not one.error
    ] == []
    assert NAME not in sys.modules


@pytest.mark.usefixtures("swapped")
@pytest.mark.parametrize("arguments", [["--json"], ["--watch", "--seconds", "0.1", "--json"]])
def test_the_command_takes_the_pins_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    file = tmp_path / "agent.toml"
    text = COMPLETE.replace('driver = "tpm2"', 'driver = "swapped"')
    assert text != COMPLETE
    file.write_text(text)
    run(["devices", *arguments, "--config", str(file)])
    assert NAME not in sys.modules
    if "--watch" not in arguments:
        findings = json.loads(capsys.readouterr().out)["findings"]
        assert ("device.pin", "enclave") in {(one["id"], one["subject"]) for one in findings}
