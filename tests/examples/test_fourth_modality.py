"""Whole processes: a node joins, enrols and answers with a modality that no code of ours names."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulators.lab import hook as lab_hook
from simulators.lab.hook import CONTROL_SOCKET
from simulators.lab.processes import Child
from simulators.lab.world import Node, World, wait_for
from tests.conftest import ROOT
from tests.examples.conftest import EXAMPLE
from tests.layered import LayeredEnvironment
from tests.system.harness import Site

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

PERSON, TYPIST, STRANGER = "persona-a", "ora", "mallory"
POLICY = """\
version = "fourth-1"
lab = true
[enrolment]
modalities = ["voice", "keystroke"]
[challenge]
min_s = 3600
max_s = 7200
activation_s = 30
min_modalities = 2
[speed]
min_elapsed_s = 0
[isolation]
failures = 10
[scheduler]
refresh_s = 0.5
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path, because sockets lie in it."""
    made = Path(tempfile.mkdtemp(prefix="kv-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def keyboard(folder: Path, installed: LayeredEnvironment) -> Iterator[Path]:
    """Control socket of a keyboard that is served by a process of its own."""
    argv = [str(installed.python), "-m", "keyvigil_keystroke_sim", str(folder)]
    child = Child("keyboard", argv, folder / "keyboard.log").start()
    try:
        control = folder / "keyboard.control"
        yield wait_for("the keyboard", lambda: control if control.exists() else None, 20, child)
    finally:
        child.stop()


@pytest.fixture
def site(
    folder: Path, keyboard: Path, installed: LayeredEnvironment, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """An authority, and a node whose processes find the package as one that is installed."""
    seen = installed.keyvigil("devices")
    pins = {each["driver"]: each["sha256"] for each in seen["drivers"]}
    pins |= {each["modality"]: each["sha256"] for each in seen["modalities"]}
    monkeypatch.setenv("PYTHONPATH", os.fspath(installed.packages))
    station = folder / "node-a" / CONTROL_SOCKET
    hook = EXAMPLE / "keyvigil_keystroke_sim" / "hook.py"
    settings: dict[str, dict[str, object]] = {
        "prompt": {"hook": [sys.executable, "-I", "-S", str(hook), str(keyboard), str(station)]},
        "presentation": {"deadline_margin_s": 3, "failure_at_s": 5},
        "devices.keystroke": {"driver": "ps2serial", "sha256": pins["ps2serial"]},
        "devices.keystroke.options": {"port": str(folder / "keyboard")},
        "modalities.keystroke": {"sha256": pins["keystroke"]},
        "modalities.keystroke.options": {"phrase": "one two three", "samples": 4, "tries": 2},
    }
    with World(folder, ["node-a"], POLICY, None, settings) as world:
        world.raise_authority()
        world.raise_station(world.nodes[0])
        leave_out(world.nodes[0].config, "face", "fingerprint")
        yield Site(world)


def leave_out(config: Path, *modalities: str) -> None:
    """Take the devices of some modalities out of a node's configuration."""
    sections = re.split(r"(?m)^(?=\[)", config.read_text())
    unwanted = tuple(f"[devices.{name}" for name in modalities)
    config.write_text("".join(section for section in sections if not section.startswith(unwanted)))


def sit_down(keyboard: Path, typist: str | None) -> None:
    assert lab_hook.ask(str(keyboard), {"op": "send", "typist": typist})["ok"]


def stages(node: Node) -> list[dict[str, Any]]:
    file = node.folder / "state" / "timings.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [found for line in lines if (found := json.loads(line))["kind"] == "presentation"]


@pytest.mark.slow
def test_a_node_answers_with_a_modality_of_a_package_that_is_only_installed(site: Site, keyboard: Path) -> None:
    """Two modalities must match and two there are, so that an accepted answer has the fourth one in its evidence.

    The voice is the one that the root is bound to; what the package brings is released by its own matcher.
    """
    (node,) = site.world.nodes
    sit_down(keyboard, TYPIST)
    site.world.join(node)
    assert {device["kind"] for device in site.node("node-a")["devices"]} == {"microphone", "keyboard", "enclave"}
    site.world.enrol(node, PERSON)
    (profile,) = site.node("node-a")["profiles"]
    assert {model["modality"] for model in profile["modalities"]} == {"voice", "keystroke"}

    site.world.start_agent(node)
    wait_for("an accepted answer", lambda: site.node("node-a")["answered"] or None, 30, *site.world.children())
    timed = wait_for("its timings", lambda: next(iter(stages(node)), None), 10)
    assert {"capture_voice", "capture_keystroke", "features_keystroke"} <= timed.keys()

    sit_down(keyboard, STRANGER)
    assert site.ended("node-a", site.challenge("node-a"), 40) == "failed"
    assert [log for log in site.world.folder.rglob("*.log") if "Traceback" in log.read_text()] == []


def test_no_code_of_ours_names_it() -> None:
    ours = [
        file
        for name in ("agent", "authority", "drivers", "hal", "protocol", "simulators")
        for file in (ROOT / name).rglob("*.py")
    ]
    assert len(ours) > 100
    assert [file for file in ours if "keystroke" in file.read_text().lower()] == []
