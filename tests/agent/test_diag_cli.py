"""`keyvigil diag` as a process of its own, on simulated devices and on bad input."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from agent.state import StateDirectory
from tests.agent.diag_bench import Bench, Captured, assert_refused, bench, more, report, terminal
from tests.agent.test_cli import assert_plain_error, keyvigil, write_config

__all__ = ["bench"]


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


@pytest.mark.slow
def test_without_a_configuration_whatever_is_there_is_tested(bench: Bench) -> None:
    found = report(bench.run("diag", "--unattended", "--json"))
    assert found["portaudio", "microphone.level"]["severity"] == "ok"
    assert not any(subject == "authority" for subject, _ in found)


def test_live_shows_camera_and_microphone_and_ends_in_time(bench: Bench) -> None:
    done = bench.run("diag", "--live", "--unattended", "--seconds", "4", "--config", bench.config())
    assert done.returncode == 0, done.stderr
    assert "dBFS" in done.stdout
    assert "sharpness" in done.stdout


def test_live_ends_with_ctrl_c(bench: Bench) -> None:
    argv = ["diag", "--live", "--unattended", "--config", bench.config()]
    with terminal(argv, bench.environment) as (process, screen):
        shown = b""
        while b"sharpness" not in shown:
            part = more(screen)
            assert part, shown
            shown += part
        process.send_signal(signal.SIGINT)
        while more(screen):
            pass
        assert process.wait(20) == 0


def test_live_without_anything_to_show(tmp_path: Path) -> None:
    done = keyvigil("diag", "--live", "--unattended", "--config", str(write_config(tmp_path)))
    assert_plain_error(done, 1, "neither")


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


@pytest.mark.parametrize("arguments", [["diag"], ["diag", "--live"], ["diag", "--bundle", "b.tgz"]])
def test_where_nobody_sits_a_diagnosis_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    given = [str(tmp_path / word) if word == "b.tgz" else word for word in arguments]
    assert_plain_error(keyvigil(*given), 1)
    assert list(tmp_path.iterdir()) == []
