"""`keyvigil devices`, `diag` and `capture` as processes of their own, on simulated devices and on bad input."""

from __future__ import annotations

import io
import json
import os
import pty
import resource
import select
import signal
import stat
import subprocess
import sys
import wave
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agent.cli import run
from agent.commands.diag import save
from agent.diagnostics.fingerprint import PLACE
from agent.diagnostics.udev import rules_text
from agent.errors import StateError
from agent.state import StateDirectory
from hal import available_drivers
from simulators.devices.alsa_microphone import AlsaMicrophone
from simulators.devices.camera_stream import CameraStream
from simulators.devices.swtpm import Swtpm, SwtpmState
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import serve_usbip
from simulators.personas import shipped_personas
from tests.agent.test_cli import assert_plain_error, keyvigil, write_config

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


def test_every_configured_device_is_tested_through_its_driver(bench: Bench) -> None:
    bench.state.mkdir(mode=0o700)
    found = report(bench.run("diag", "--unattended", "--json", "--config", bench.config()))
    severities = {key: finding["severity"] for key, finding in found.items()}
    assert severities["fingerprint (uru4000)", "device.usable"] == "ok"
    assert severities["face (opencv)", "camera.frames"] == "ok"
    assert severities["voice (portaudio)", "microphone.level"] == "ok"
    assert severities["enclave (tpm2)", "enclave.usable"] == "ok"
    assert severities["enclave (tpm2)", "tpm.certificate"] == "ok"
    assert severities["host", "host.state"] == "ok"
    assert severities["host", "host.disk"] == "ok"
    assert severities["host", "host.core-dumps"] == "ok"
    assert severities["authority", "authority.reachable"] == "error"
    assert severities["authority", "authority.joined"] == "warning"
    assert found["voice (portaudio)", "microphone.level"]["facts"]["rate"] == 16_000


def test_the_state_directory_of_others_is_reported_and_not_touched(bench: Bench) -> None:
    bench.state.mkdir(mode=0o755)
    found = report(bench.run("diag", "--unattended", "--json", "--config", bench.config()))
    assert found["host", "host.state"]["severity"] == "error"
    assert list(bench.state.iterdir()) == []


def test_one_stalled_device_does_not_hold_up_the_rest(bench: Bench) -> None:
    bench.tpm.suspend()
    try:
        done = bench.run("diag", "--unattended", "--json", "--config", bench.config(enclave=_short(bench)))
    finally:
        bench.tpm.resume()
    found = report(done)
    assert done.returncode == 1
    assert found["enclave (tpm2)", "enclave.usable"]["severity"] == "error"
    assert found["face (opencv)", "camera.frames"]["severity"] == "ok"


def _short(bench: Bench) -> str:
    return f'tcti = "{bench.tpm.tcti}", timeout = 1.0'


@pytest.mark.slow
def test_drivers_that_are_not_the_pinned_ones_are_errors(bench: Bench) -> None:
    done = bench.run("diag", "--unattended", "--json", "--config", bench.config(sha256="0" * 64))
    found = report(done)
    assert done.returncode == 1
    assert found["face (opencv)", "device.usable"]["severity"] == "error"
    assert found["enclave (tpm2)", "enclave.usable"]["severity"] == "error"


WRONG = (
    {
        "face": "source = 5",
        "voice": 'device = "nosuch"',
        "fingerprint": 'usbip = "nowhere"',
        "enclave": 'tcti = "no:x"',
    },
    {"face": 'nosuch = "x"', "voice": "rate = true", "fingerprint": "serial = 1", "enclave": "timeout = -1"},
)


@pytest.mark.slow
@pytest.mark.parametrize("options", WRONG, ids=["values", "names and types"])
def test_options_that_a_driver_refuses_are_errors_with_a_remedy(bench: Bench, options: dict[str, str]) -> None:
    found = report(bench.run("diag", "--unattended", "--json", "--config", bench.config(**options)))
    for section in options:
        identity = "enclave.usable" if section == "enclave" else "device.usable"
        (mine,) = [each for key, each in found.items() if key[0].startswith(section) and key[1] == identity]
        assert mine["severity"] == "error", mine


def test_sensors_in_use_are_left_alone(bench: Bench) -> None:
    from hal import Deadline

    state = StateDirectory.open(bench.state)
    with state.sensor_lock(Deadline.after(1)):
        found = report(bench.run("diag", "--unattended", "--json", "--config", bench.config()))
    assert ("", "device.busy") in found
    assert not any(identity.startswith("camera.") for _, identity in found)
    assert found["enclave (tpm2)", "enclave.usable"]["severity"] == "ok"


def test_the_report_for_people_and_nothing_else_is_made(bench: Bench) -> None:
    done = bench.run("diag", "--unattended", "--config", bench.config(), "--picture", str(bench.folder / "r.svg"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "There are errors" in done.stdout
    assert "→" in done.stdout
    assert "<svg" in (bench.folder / "r.svg").read_text()
    assert not bench.state.exists(), "joining makes it, and sets its mode"


def test_a_picture_that_finds_no_room_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StateError, match=r"r\.svg"):
            save(tmp_path / "r.svg", "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    save(tmp_path / "r.svg", "x" * 10_000)
    assert (tmp_path / "r.svg").stat().st_size == 10_000


@pytest.mark.slow
def test_without_a_configuration_whatever_is_there_is_tested(bench: Bench) -> None:
    found = report(bench.run("diag", "--unattended", "--json"))
    assert found["portaudio", "microphone.level"]["severity"] == "ok"
    assert not any(subject == "authority" for subject, _ in found)


def test_live_shows_camera_and_microphone_and_ends_in_time(bench: Bench) -> None:
    done = bench.run("diag", "--live", "--unattended", "--seconds", "1.5", "--config", bench.config())
    assert done.returncode == 0, done.stderr
    assert "dBFS" in done.stdout
    assert "sharpness" in done.stdout


def test_live_ends_with_ctrl_c(bench: Bench) -> None:
    argv = ["diag", "--live", "--unattended", "--config", bench.config()]
    with terminal(argv, bench.environment) as (process, screen):
        shown = b""
        while b"sharpness" not in shown:
            part = _more(screen)
            assert part, shown
            shown += part
        process.send_signal(signal.SIGINT)
        while _more(screen):
            pass
        assert process.wait(20) == 0


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


def _more(screen: int) -> bytes:
    """What is shown next; nothing when the process has ended or shows nothing for long."""
    try:
        return os.read(screen, 4096) if select.select([screen], [], [], PATIENCE_S)[0] else b""
    except OSError:
        return b""


def test_live_without_anything_to_show(tmp_path: Path) -> None:
    done = keyvigil("diag", "--live", "--unattended", "--config", str(write_config(tmp_path)))
    assert_plain_error(done, 1, "neither")


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["--live", "--json"],
        ["--live", "--bundle", "x.tgz"],
        ["--seconds", "3"],
        ["--live", "--seconds", "0"],
        ["--live", "--seconds", "soon"],
        ["--log", "/dev/null"],
        ["--bundle", "/nonexistent/x.tgz"],
        ["--bundle", "/"],
        ["--bundle", "/etc/passwd"],
        ["--picture", "/etc/passwd"],
        ["--bundle", "/tmp/x.tgz", "--log", "/nonexistent"],
        ["--config", "/nonexistent.toml"],
        ["--config", "/"],
        ["--nosuch"],
        ["extra"],
    ],
)
def test_bad_options_of_diag_end_with_status_2(capsys: Captured, arguments: list[str]) -> None:
    assert_refused(capsys, ["diag", "--unattended", *arguments], 2)
    assert not Path("/tmp/x.tgz").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seconds", "3"],
        ["--watch", "--seconds", "-1"],
        ["--config", "/nonexistent.toml"],
        ["--nosuch"],
        ["extra"],
    ],
)
def test_bad_options_of_devices_end_with_status_2(capsys: Captured, arguments: list[str]) -> None:
    assert_refused(capsys, ["devices", *arguments], 2)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 2),
        (["camera"], 2),
        (["retina", "--out", "new.png"], 2),
        (["fingerprint", "--out", "new.png", "--seconds", "0"], 2),
        (["fingerprint", "--out", "new.png", "--config", "/nonexistent.toml"], 2),
        (["fingerprint", "--out", "new.png"], 1),
        (["enclave", "--out", "new.png"], 1),
    ],
)
def test_bad_options_of_capture(capsys: Captured, tmp_path: Path, arguments: list[str], status: int) -> None:
    given = [str(tmp_path / word) if word == "new.png" else word for word in arguments]
    assert_refused(capsys, ["capture", *given, *CONSENT], status)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["diag"], ["diag", "--live"], ["diag", "--bundle", "b.tgz"]])
def test_where_nobody_sits_a_diagnosis_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    given = [str(tmp_path / word) if word == "b.tgz" else word for word in arguments]
    assert_plain_error(keyvigil(*given), 1)
    assert list(tmp_path.iterdir()) == []


def test_where_nobody_sits_a_capture_is_refused(bench: Bench) -> None:
    out = bench.folder / "face.png"
    done = bench.run("capture", "camera", "--out", str(out), "--config", bench.config(), "--i-have-consent")
    assert_plain_error(done, 1)
    assert not out.exists()


def test_without_consent_nothing_is_captured(bench: Bench) -> None:
    out = bench.folder / "face.png"
    done = bench.run("capture", "camera", "--out", str(out), "--config", bench.config(), "--unattended")
    assert_plain_error(done, 1, "nobody agreed", "--i-have-consent", "biometric data")
    assert not out.exists()


def test_a_camera_capture_is_a_private_picture(bench: Bench) -> None:
    out = bench.folder / "face.png"
    done = bench.run("capture", "camera", "--out", str(out), "--config", bench.config(), "--json", *CONSENT)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["width"], told["height"], told["files"]) == (320, 240, [str(out)])
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert Image.open(io.BytesIO(out.read_bytes())).size == (320, 240)
    again = bench.run("capture", "camera", "--out", str(out), "--config", bench.config(), *CONSENT)
    assert_plain_error(again, 2, "there already")


def test_a_microphone_capture_is_a_sound_and_its_picture(bench: Bench) -> None:
    out = bench.folder / "voice.wav"
    where = ["--out", str(out), "--config", bench.config(), "--seconds", "1"]
    done = bench.run("capture", "microphone", *where, *CONSENT)
    assert done.returncode == 0, done.stderr
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnframes()) == (16_000, 16_000)
        assert np.abs(np.frombuffer(file.readframes(16_000), "<i2")).max() > 1000
    plot = out.with_suffix(".png")
    assert Image.open(plot).size == (800, 416)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (out, plot)} == {0o600}


def test_a_fingerprint_capture_waits_for_the_finger(bench: Bench) -> None:
    out = bench.folder / "finger.png"
    argv = ["capture", "fingerprint", "--out", str(out), "--config", bench.config(), "--json", *CONSENT]
    with subprocess.Popen(
        [sys.executable, "-m", "agent.cli", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            assert any(line.strip() == PLACE for line in process.stderr), "the person was never asked"
            bench.reader.place(*shipped_personas()[0].finger(0))
            stdout, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 0
    assert json.loads(stdout)["dpi"] == 512
    picture = Image.open(out)
    assert picture.size == (384, 290)
    assert round(picture.info["dpi"][0]) == 512


def test_a_finger_that_does_not_come_leaves_no_file(bench: Bench) -> None:
    out = bench.folder / "finger.png"
    where = ["--out", str(out), "--config", bench.config(), "--seconds", "0.3"]
    assert_plain_error(bench.run("capture", "fingerprint", *where, *CONSENT), 1, "did not finish before its deadline")
    assert not out.exists()


def test_the_state_directory_takes_no_capture(bench: Bench) -> None:
    bench.state.mkdir(mode=0o700)
    done = bench.run("capture", "camera", "--out", str(bench.state / "x.png"), "--config", bench.config(), *CONSENT)
    assert_plain_error(done, 2, "state directory")


def test_on_a_terminal_the_person_is_asked_and_the_picture_shown(bench: Bench) -> None:
    out = bench.folder / "face.png"
    argv = ["capture", "camera", "--out", str(out), "--config", bench.config(), "--unattended"]
    shown, status = on_a_terminal(argv, b"agreed?", b"y\n")
    assert status == 0, shown
    assert "▀" in shown.decode()
    assert out.exists()


@pytest.mark.slow
def test_a_person_who_says_no_is_not_captured(bench: Bench) -> None:
    out = bench.folder / "face.png"
    argv = ["capture", "camera", "--out", str(out), "--config", bench.config(), "--unattended"]
    shown, status = on_a_terminal(argv, b"agreed?", b"n\n")
    assert status == 1
    assert b"did not agree" in shown
    assert not out.exists()


def on_a_terminal(argv: list[str], question: bytes, answer: bytes) -> tuple[bytes, int]:
    """Everything shown, and the exit status; the question is answered once."""
    with terminal(argv, {}) as (process, screen):
        shown, answered = b"", False
        while part := _more(screen):
            shown += part
            if question in shown and not answered:
                answered = True
                os.write(screen, answer)
        return shown, process.wait(PATIENCE_S)


def test_the_udev_rules_are_printed_as_they_are() -> None:
    done = keyvigil("devices", "--udev-rules")
    assert (done.returncode, done.stdout) == (0, rules_text())


def test_devices_tells_what_is_there_and_what_is_wrong(bench: Bench) -> None:
    told = bench.run("devices", "--json", "--config", bench.config())
    assert told.returncode == 0, told.stdout
    found = json.loads(told.stdout)
    assert set(found) == {"drivers", "modalities", "unclaimed", "missing", "findings"}
    attached = {line["driver"]: line["attached"] for line in found["drivers"]}
    assert attached["uru4000"][0]["serial"] == "SIM-D"
    assert "finger-detect" in attached["uru4000"][0]["capabilities"]
    gone = bench.run("devices", "--json", "--config", bench.config(enclave='tcti = "swtpm:path=/nonexistent"'))
    assert gone.returncode == 1
    (wrong,) = json.loads(gone.stdout)["findings"]
    assert (wrong["id"], wrong["subject"]) == ("device.attached", "enclave")


@pytest.mark.slow
def test_devices_watch_prints_json_lines(bench: Bench) -> None:
    done = bench.run("devices", "--watch", "--seconds", "3", "--json", "--config", bench.config())
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"uru4000", "tpm2", "portaudio"} <= {line["driver"] for line in lines if line["event"] == "arrived"}
