"""The bench: single simulated devices served with faults on demand, and driven by the shipped drivers."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hal import Deadline, Disconnected, NotFound, TimedOut, load_driver
from simulators.lab import hook
from simulators.lab.bench import READY_FILE, BenchConfig, load_bench, run_bench
from simulators.lab.hook import CONTROL_SOCKET
from simulators.lab.processes import Child, LabError, command
from simulators.lab.show import announce
from simulators.lab.world import wait_for

BENCH = """
person = "persona-a"
[devices.reader]
model = "uru4000"
options = { seed = 3, serial = "B1" }
[devices.second]
model = "nb1010"
[[devices.second.faults]]
fault = "stall"
[devices.camera]
model = "network-camera"
options = { fps = 20.0 }
[devices.tpm]
model = "tpm"
"""


@pytest.fixture(scope="module")
def bench() -> Iterator[Path]:
    """Folder of a bench that runs in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="kv-") as made:
        folder = Path(made)
        (folder / "bench.toml").write_text(BENCH)
        argv = [command("keyvigil-lab"), "bench", "--config", os.fspath(folder / "bench.toml"), "--folder", made]
        child = Child("bench", argv, folder / "log").start()
        try:
            wait_for("the bench", lambda: (folder / READY_FILE).exists() or None, 60, child)
            yield folder
        finally:
            child.stop()


def lab(folder: Path, *words: str, status: int = 0) -> Any:
    argv = [command("keyvigil-lab"), *words, "--folder", os.fspath(folder), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def described(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / READY_FILE).read_text())["devices"][name]
    return found


def opened(folder: Path, name: str, seconds: float = 10.0) -> Any:
    device = described(folder, name)
    driver, _ = load_driver(device["driver"], None)
    return driver.open(device["options"], Deadline.after(seconds))


def test_the_shipped_driver_finds_a_served_reader_with_the_person_s_finger_on_it(bench: Path) -> None:
    with opened(bench, "reader") as reader:
        assert reader.info.serial == "B1"
        assert reader.capture(Deadline.after(10)).pixels.std() > 20


def test_a_fault_of_the_configuration_is_in_force_until_it_is_mended(bench: Path) -> None:
    with pytest.raises(TimedOut), opened(bench, "second", 1.0) as reader:
        reader.capture(Deadline.after(0.3))
    lab(bench, "mend", "second")
    with opened(bench, "second") as reader:
        assert reader.capture(Deadline.after(10)).pixels.std() > 20


def test_a_fault_is_ordered_from_the_command_line_and_mended(bench: Path) -> None:
    lab(bench, "fault", "reader", "unplug")
    with pytest.raises(NotFound):
        opened(bench, "reader")
    lab(bench, "mend", "reader")
    opened(bench, "reader").close()
    with opened(bench, "camera") as camera:
        lab(bench, "fault", "camera", "unplug")
        with pytest.raises(Disconnected):
            [camera.read(Deadline.after(5)) for _ in range(100)]
        lab(bench, "mend")
    opened(bench, "camera").close()


def test_a_tpm_that_was_reset_counts_it(bench: Path) -> None:
    with opened(bench, "tpm") as enclave:
        before = enclave.status().clock.reset_count
    lab(bench, "fault", "tpm", "reset")
    lab(bench, "mend", "tpm")
    with opened(bench, "tpm") as enclave:
        assert enclave.status().clock.reset_count > before


def test_every_device_tells_what_can_go_wrong_with_it(bench: Path) -> None:
    found = lab(bench, "faults")["faults"]
    assert {"unplug", "stall", "corrupt"} <= set(found["reader"])
    assert {"lockout", "reset", "nv-full"} <= set(found["tpm"])
    assert "lockout" not in found["reader"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fault", "reader", "lockout"], "lockout"),
        (["fault", "reader", "flood"], "flood"),
        (["fault", "toaster", "stall"], "toaster"),
        (["fault", "reader", "corrupt", "--rate", "2"], "rate"),
        (["fault", "reader", "slow"], "how many seconds"),
        (["mend", "toaster"], "toaster"),
        (["person", "nobody-known"], "persona-a"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_its_cause(bench: Path, words: list[str], said: str) -> None:
    assert said in lab(bench, *words, status=1)["error"]


def test_a_bench_that_does_not_run_is_named(tmp_path: Path) -> None:
    assert "nothing answers" in lab(tmp_path, "faults", status=1)["error"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devices = 1", "object"),
        ('[devices.a]\nmodel = "toaster"', "toaster"),
        ('[devices.a]\nmodel = "uru4000"\ncolour = 1', "colour"),
        ("[devices", "Expected"),
        ('[devices."../a"]\nmodel = "uru4000"', "no name"),
        ('[devices.a]\nmodel = "uru4000"\n[[devices.a.faults]]\nfault = "flood"', "flood"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_cause(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bench.toml").write_text(text)
    with pytest.raises(LabError) as caught:
        load_bench(tmp_path / "bench.toml")
    assert said in str(caught.value) + caught.value.remedy


def test_a_folder_in_which_a_bench_serves_is_not_taken_from_it(bench: Path) -> None:
    argv = [command("keyvigil-lab"), "bench", "--config", os.fspath(bench / "bench.toml"), "--folder", os.fspath(bench)]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "another bench serves" in second.stderr
    assert "remedy" in second.stderr
    assert hook.ask(os.fspath(bench / CONTROL_SOCKET), {"op": "ping"}) == {"ok": True}


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(LabError, match="/dev/null/bench"):
        run_bench(BenchConfig({}), Path("/dev/null/bench"), lambda _: None)


def test_what_is_announced_is_toml(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"module": 'a"b', "slots": [1, 2], "environment": {"SOFTHSM2_CONF": "/x", "odd.name": "y"}, "n": 1.5}
    announce({"t": {"driver": "pkcs11", "options": options, "environment": {}, "faults": ["stall"]}}, as_json=False)
    read = tomllib.loads(capsys.readouterr().out)
    assert read["options"] == options
    assert read["driver"] == "pkcs11"


def test_the_control_socket_is_private_and_the_bench_ends_when_it_is_told_to(bench: Path) -> None:
    assert stat.S_IMODE((bench / CONTROL_SOCKET).stat().st_mode) == 0o600
    assert hook.ask(os.fspath(bench / CONTROL_SOCKET), {"op": "ping"}) == {"ok": True}
    argv = [command("keyvigil-lab"), "bench", "--config", os.fspath(bench / "bench.toml")]
    with tempfile.TemporaryDirectory(prefix="kv-") as other:
        child = Child("bench", [*argv, "--folder", other], Path(other) / "log").start()
        wait_for("the bench", lambda: (Path(other) / READY_FILE).exists() or None, 60, child)
        assert child.process is not None
        child.process.send_signal(signal.SIGINT)
        assert child.process.wait(20) == 0
