"""The out-of-tree package: installed by pip, seen by the node, and passing its own tests there."""

from __future__ import annotations

from pathlib import Path

from agent.modalities import available_modalities
from hal import available_drivers
from tests.layered import LayeredEnvironment


def test_the_node_sees_its_driver_and_its_modality_with_the_hash_to_pin(installed: LayeredEnvironment) -> None:
    seen = installed.keyvigil("devices")
    drivers = {report["driver"]: report for report in seen["drivers"]}
    modalities = {each["modality"]: each["sha256"] for each in seen["modalities"]}
    assert {"ps2serial", "uru4000", "tpm2"} <= drivers.keys()
    assert modalities.keys() == {"fingerprint", "face", "voice", "fingerprint-match", "keystroke"}
    assert drivers["ps2serial"]["sha256"] == modalities["keystroke"], "one package, one hash"
    assert drivers["ps2serial"]["error"] == ""


def test_without_it_installed_the_node_knows_nothing_of_it() -> None:
    assert "ps2serial" not in available_drivers()
    assert "keystroke" not in available_modalities()


def test_its_own_tests_pass_where_it_is_installed(installed: LayeredEnvironment, project: Path) -> None:
    said = installed.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=project)
    assert " passed" in said
    assert " failed" not in said
