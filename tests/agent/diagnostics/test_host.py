from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config import Config, parse_config
from agent.diagnostics import Finding, Severity, host, timesync
from agent.diagnostics.host import DiskRoom, file_system, judge_disk, judge_dumps, judge_ipsec, judge_keyring
from agent.diagnostics.machine import Machine
from agent.diagnostics.timesync import KernelClock
from tests.agent.diagnostics.trees import Tree

MEBIBYTE = 1024 * 1024


def config(state: Path, more: str = "") -> Config:
    text = f"""
    [node]
    name = "node-a"
    state_dir = "{state}"
    authority = "https://127.0.0.1:1"
    [devices.enclave]
    driver = "tpm2"
    sha256 = "{"0" * 64}"
    {more}
    """
    return parse_config(text.encode())


def found_in(state: Path, machine: Machine | None = None) -> list[Finding]:
    findings = host.examine(machine or Machine(Path("/nonexistent")), config(state))
    return [found for found in findings if found.id.startswith("host.state")]


def private(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return path


def test_the_kernel_tells_about_its_clock() -> None:
    clock = timesync.kernel_clock()
    assert isinstance(clock.synchronised, bool)
    assert clock.maximum_error_s >= 0


def test_the_kernels_word_is_that_of_its_own_command() -> None:
    """`adjtimex` by another program: Python has no call for it, and `chronyc` is not everywhere."""
    script = (
        "import ctypes, struct; b = ctypes.create_string_buffer(512);"
        "r = ctypes.CDLL(None).adjtimex(b); print(r, struct.unpack_from('@Illll i', b.raw)[5])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    state, status = (int(word) for word in done.stdout.split())
    assert timesync.kernel_clock().synchronised is (state != 5 and not status & 0x40)


@pytest.mark.parametrize(
    ("clock", "severity"),
    [
        (KernelClock(True, 0.01), Severity.OK),
        (KernelClock(True, 16.0), Severity.WARNING),
        (KernelClock(False, 0.01), Severity.WARNING),
    ],
)
def test_time_synchronisation(clock: KernelClock, severity: Severity) -> None:
    assert timesync.judge(clock, Machine(Path("/nonexistent"))).severity is severity


def test_the_remedy_names_the_time_service_that_runs(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert "apt-get install chrony" in timesync.judge(KernelClock(False, 1), tree.machine).remedy
    tree.file("/run/systemd/timesync/synchronized")
    assert "systemd-timesyncd" in timesync.judge(KernelClock(False, 1), tree.machine).remedy
    assert "by systemd-timesyncd" in timesync.judge(KernelClock(True, 0.1), tree.machine).what


@pytest.mark.parametrize(
    ("room", "severity"),
    [
        (DiskRoom(10_000 * MEBIBYTE, 10**6), Severity.OK),
        (DiskRoom(10_000 * MEBIBYTE, None), Severity.OK),
        (DiskRoom(100 * MEBIBYTE, 10**6), Severity.WARNING),
        (DiskRoom(10_000 * MEBIBYTE, 10), Severity.WARNING),
        (DiskRoom(MEBIBYTE, 10**6), Severity.ERROR),
    ],
)
def test_room_on_the_disk(room: DiskRoom, severity: Severity) -> None:
    assert judge_disk(room).severity is severity


def test_a_private_state_directory_is_well(tmp_path: Path) -> None:
    state = private(tmp_path / "state")
    (state / "identity.json").touch(mode=0o600)
    assert [found.severity for found in found_in(state)] == [Severity.OK]


def test_a_state_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    (found,) = found_in(tmp_path / "state")
    assert (found.severity, found.remedy) == (Severity.INFO, "`keyvigil join` makes it.")


def test_a_state_directory_open_to_others(tmp_path: Path) -> None:
    state = private(tmp_path / "state")
    state.chmod(0o750)
    (found,) = found_in(state)
    assert (found.severity, found.remedy) == (Severity.ERROR, f"chmod 700 {state}")


def test_files_open_to_others_and_links_are_named(tmp_path: Path) -> None:
    state = private(tmp_path / "state")
    (state / "tls.pem").touch()
    (state / "tls.pem").chmod(0o644)
    (state / "link").symlink_to("/etc/passwd")
    named = {found.what.partition(" ")[0] for found in found_in(state)}
    assert named == {"tls.pem", "link"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_state_directory_of_another_user(tmp_path: Path) -> None:
    state = private(tmp_path / "state")
    os.chown(state, 4711, -1)
    (found,) = found_in(state)
    assert found.severity is Severity.ERROR
    assert "sudo -u '#4711'" in found.remedy


def test_a_state_directory_that_is_a_file_or_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    private(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "link"):
        assert found_in(tmp_path / name)[0].severity is Severity.ERROR


def test_a_state_directory_in_memory_is_a_warning(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "root")
    state = private(tmp_path / "state")
    line = "36 35 0:30 / {} rw - {} none rw\n"
    tree.file("/proc/self/mountinfo", line.format("/", "ext4") + line.format(state, "tmpfs"))
    assert "host.state-lasting" in {found.id for found in found_in(state, tree.machine)}


@pytest.mark.parametrize(
    ("path", "kind"), [("/var/lib/x", "ext4"), ("/var/lib/keyvigil/profiles", "tmpfs"), ("/var/lib/keyvigil2", "ext4")]
)
def test_the_longest_mount_covers_a_path(path: str, kind: str) -> None:
    assert file_system([("/", "ext4"), ("/var/lib/keyvigil", "tmpfs")], Path(path)) == kind


@pytest.mark.parametrize(
    ("limit", "dumpable", "severity"), [(0, 0, Severity.OK), (-1, 0, Severity.ERROR), (0, 1, Severity.ERROR)]
)
def test_core_dumps(limit: int, dumpable: int, severity: Severity) -> None:
    assert judge_dumps(limit, dumpable).severity is severity


@pytest.mark.parametrize(
    ("table", "severity"),
    [
        ("", Severity.ERROR),
        ("    0:     4 3/3 1/1000000 9/25000000\n", Severity.OK),
        (" 1000:   190 190/190 190/200 1800/20000\n", Severity.WARNING),
        (" 1000:    10 10/10 10/200 19000/20000\n", Severity.WARNING),
        (" 1000:    10 10/10 10/200 190/20000\n", Severity.OK),
        ("garbage\n:::\n 1000: x\n", Severity.OK),
    ],
)
def test_the_keyring(table: str, severity: Severity) -> None:
    assert judge_keyring(table, 1000).severity is severity


def test_the_keyring_matters_to_whoever_uses_it(tmp_path: Path) -> None:
    machine = Machine(Path("/nonexistent"))
    sink = '[[sinks]]\nkind = "keyring"'
    ids = {found.id for found in host.examine(machine, config(tmp_path / "state", sink))}
    assert "host.keyring" in ids
    assert "host.keyring" not in {found.id for found in host.examine(machine, config(tmp_path / "state"))}


@pytest.mark.parametrize(
    ("counters", "severity", "says"),
    [
        (None, Severity.WARNING, "cannot be read"),
        ({}, Severity.OK, "dropped nothing"),
        ({"XfrmOutPolBlock": 7}, Severity.INFO, "without an association were dropped (7)"),
        ({"XfrmInNoStates": 3, "XfrmOutPolBlock": 7}, Severity.WARNING, "not installed"),
        ({"XfrmNew": 1}, Severity.INFO, "XfrmNew (1)"),
    ],
)
def test_ipsec(counters: dict[str, int] | None, severity: Severity, says: str) -> None:
    found = judge_ipsec(counters)
    assert found.severity is severity
    assert says in found.what
    assert found.facts == (counters or {})


def test_ipsec_matters_to_whoever_uses_it(tmp_path: Path) -> None:
    stat = tmp_path / "root" / "proc" / "net" / "xfrm_stat"
    stat.parent.mkdir(parents=True)
    stat.write_text("XfrmInError             \t0\nXfrmInNoStates          \t12\n")
    sink = '[[sinks]]\nkind = "xfrm"'
    found = {one.id: one for one in host.examine(Machine(tmp_path / "root"), config(tmp_path / "state", sink))}
    assert found["host.ipsec"].facts == {"XfrmInNoStates": 12}
    assert "host.ipsec" not in {one.id for one in host.examine(Machine(), config(tmp_path / "state"))}
