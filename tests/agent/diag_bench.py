"""A bench of simulated devices for `keyvigil devices`, `diag` and `capture`, and how their commands are run."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli import run
from hal import available_drivers
from simulators.devices.alsa_microphone import AlsaMicrophone
from simulators.devices.camera_stream import CameraStream
from simulators.devices.swtpm import Swtpm, SwtpmState
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import serve_usbip
from simulators.personas import shipped_personas
from tests.agent.test_cli import keyvigil

PATIENCE_S = 30
CONSENT = ("--i-have-consent", "--unattended")


@dataclass
class Bench:
    """A node's devices, its configuration, and the environment in which its microphone is heard."""

    folder: Path
    reader: Uru4000Model
    camera: CameraStream
    microphone: AlsaMicrophone
    tpm: Swtpm
    usbip: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def config(self, **changes: str) -> str:
        sha256 = available_drivers()["tpm2"].sha256
        options = {
            "enclave": ("tpm2", f'tcti = "{self.tpm.tcti}"'),
            "fingerprint": ("uru4000", f'usbip = "{self.usbip}"'),
            "face": ("opencv", f'source = "{self.camera.url}"'),
            "voice": ("portaudio", f'device = "{self.microphone.device}"'),
        }
        lines = ["[node]", 'name = "node-a"', f'state_dir = "{self.state}"', 'authority = "https://127.0.0.1:1"']
        for section, (driver, option) in options.items():
            given = changes.get(section, option)
            lines += [f"[devices.{section}]", f'driver = "{driver}"', f'sha256 = "{changes.get("sha256", sha256)}"']
            lines += [f"options = {{ {given} }}"]
        path = self.folder / "agent.toml"
        path.write_text("\n".join(lines))
        return str(path)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return keyvigil(*arguments, **self.environment)


@pytest.fixture
def bench(tmp_path: Path, tpm_state: SwtpmState) -> Iterator[Bench]:
    noise = np.random.default_rng(1)
    with ExitStack() as stack:
        reader = Uru4000Model(serial="SIM-D", instant=True)
        server = serve_usbip([reader])
        stack.callback(server.close)
        camera = stack.enter_context(CameraStream(fps=20, size=(240, 320)))
        camera.show(lambda _: noise.integers(0, 255, (240, 320, 3), dtype=np.uint8))
        microphone = AlsaMicrophone(tmp_path / "alsa")
        microphone.speak(*shipped_personas()[0].say("1234", 0))
        tpm = stack.enter_context(Swtpm(tpm_state.copy(tmp_path / "tpm")))
        yield Bench(tmp_path, reader, camera, microphone, tpm, f"{server.host}:{server.port}", microphone.environment())


def report(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Findings by subject and id; the process ended without a traceback."""
    assert "Traceback" not in done.stdout + done.stderr
    findings = json.loads(done.stdout)["findings"]
    for found in findings:
        assert found["severity"] in {"ok", "info", "warning", "error"}
        assert found["what"]
        assert found["remedy"] or found["severity"] in {"ok", "info"}, found
    return {(found["subject"], found["id"]): found for found in findings}


@contextmanager
def terminal(argv: list[str], environment: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`keyvigil` on a terminal of its own; it is killed when the test ends otherwise."""
    screen, end = pty.openpty()
    env = {**os.environ, **environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen([sys.executable, "-m", "agent.cli", *argv], stdin=end, stdout=end, stderr=end, env=env)
    os.close(end)
    try:
        yield process, screen
    finally:
        process.kill()
        process.wait()
        os.close(screen)


Captured = pytest.CaptureFixture[str]


def assert_refused(capsys: Captured, arguments: list[str], status: int) -> None:
    """As `assert_plain_error`, in this process, for what is refused before any work begins."""
    assert run(arguments) == status
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "internal error" not in said
    trouble = json.loads(said) if "--json" in arguments else dict(_pairs(said))
    assert trouble["error"]
    assert trouble["remedy"]


def _pairs(said: str) -> Iterator[tuple[str, str]]:
    for line in said.splitlines():
        name, _, text = line.partition(": ")
        yield name, text


def more(screen: int) -> bytes:
    """What is shown next; nothing when the process has ended or shows nothing for long."""
    try:
        return os.read(screen, 4096) if select.select([screen], [], [], PATIENCE_S)[0] else b""
    except OSError:
        return b""
