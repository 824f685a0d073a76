"""Scenarios of `tests.uml.inside`, on a kernel with ESP that runs as an ordinary process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from simulators.lab import user_mode

REPOSITORY = Path(__file__).resolve().parents[2]


def run(scenario: str, folder: Path, *arguments: object, timeout_s: float = 600, memory: str = "700M") -> dict:
    """Boot, run a module of `tests.uml.inside` with the folder and arguments, and read the result that it left.

    The folder is the only place that it can write to, and survives for another boot.
    """
    if reason := user_mode.missing():
        pytest.skip(reason)
    (folder / "result.json").unlink(missing_ok=True)
    command = user_mode.python(f"tests.uml.inside.{scenario}", folder, *arguments)
    machine = user_mode.start(folder, command, REPOSITORY, memory=memory)
    try:
        machine.wait(timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(machine.pid, signal.SIGKILL)
        raise
    well, said = user_mode.outcome(folder)
    assert well, said[-4000:]
    found: dict = json.loads((folder / "result.json").read_text())
    return found
