"""What carries the demo's packets: found out on this machine, and what is said of packets that come or cease."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from authority.trust import parse_policy
from simulators.lab.network.fabric import leave_host_network
from simulators.lab.network.plane import FILE, KERNEL, USER, DataPlane, find_data_plane
from simulators.lab.network.wires import NodeWires
from simulators.lab.policy import demo_policy
from tests.namespaces import needs

TRIAL = [sys.executable, "-m", "simulators.lab.network.plane"]


def _tried(*before: str, path: str | None = None) -> DataPlane:
    env = os.environ if path is None else {**os.environ, "PATH": path}
    done = subprocess.run([*before, *TRIAL], env=env, capture_output=True, text=True, check=True)
    return DataPlane(**json.loads(done.stdout))


@needs("wireguard-go")
def test_a_machine_with_wireguard_go_carries_packets_over_it() -> None:
    assert find_data_plane().name == USER


@needs("wireguard-go")
def test_without_wireguard_go_it_is_the_kernel_s_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "ip").symlink_to(str(shutil.which("ip")))
    found = _tried(path=str(tmp_path))
    assert found.name in {KERNEL, FILE}
    assert found.carries or "wireguard-go is not installed" in found.why


@needs()
def test_without_iproute_keys_go_into_files(tmp_path: Path) -> None:
    assert _tried(path=str(tmp_path)) == DataPlane(FILE, "ip is not installed")


@needs("setpriv")
def test_root_that_may_make_no_namespaces_keeps_keys_in_files() -> None:
    found = _tried("setpriv", "--bounding-set", "-sys_admin")
    assert found.name == FILE
    assert "no network namespace can be made here" in found.why


@pytest.mark.skipif(os.geteuid() == 0, reason="root may make namespaces")
def test_without_root_keys_go_into_files() -> None:
    found = find_data_plane()
    assert found.name == FILE
    assert "root" in found.why


def test_the_policy_over_wireguard_rotates_no_faster_than_it_can() -> None:
    usual, slower = (parse_policy(demo_policy(recordings=False, wireguard=over)).rotation for over in (False, True))
    assert usual.very_fast_s < 180 <= slower.very_fast_s < slower.increased_s < slower.standard_s


@pytest.fixture
def outside() -> Iterator[ThreadPoolExecutor]:
    """A thread that has left this process's network."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(leave_host_network).result()
        yield thread


@needs()
def test_packets_that_come_cease_and_come_again_are_told_apart(outside: ThreadPoolExecutor, tmp_path: Path) -> None:
    outside.submit(_cease_and_come_again, tmp_path).result()


def _cease_and_come_again(folder: Path) -> None:
    """The tunnels' addresses lie on the bare cables here."""
    both = [("a", "b"), ("b", "a")]
    with NodeWires(DataPlane(KERNEL, "none is needed")) as wires:
        for number, name in enumerate(("a", "b"), 1):
            (folder / name).mkdir()
            wires.plug(name, folder / name)
            subprocess.run(
                wires.argv(name, ["ip", "address", "add", f"10.77.0.{number}/24", "dev", "cable"]), check=True
            )
        wires.start_traffic()
        assert wires.reached(both, 20)
        assert wires.passes(both, 20)
        assert not wires.stopped(both, 0.5)
        subprocess.run(wires.argv("a", ["ip", "link", "set", "cable", "down"]), check=True)
        assert wires.stopped(both, 20)
        assert not wires.passes(both, 0.2)
        assert wires.reached(both, 0.2)
        subprocess.run(wires.argv("a", ["ip", "link", "set", "cable", "up"]), check=True)
        assert wires.passes(both, 20)
        assert wires.total() == sum(wires.came(*pair)[0] for pair in both) > 0


@needs()
def test_packets_that_never_came_have_not_stopped(outside: ThreadPoolExecutor, tmp_path: Path) -> None:
    def never() -> None:
        with NodeWires(DataPlane(KERNEL, "none is needed")) as wires:
            for name in ("a", "b"):
                (tmp_path / name).mkdir()
                wires.plug(name, tmp_path / name)
            wires.start_traffic()
            assert not wires.stopped([("a", "b")], 1.5)

    outside.submit(never).result()
