"""The lab's network: what its traffic counts, and the whole of it once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from simulators.lab.network.course import Course, Moment
from simulators.lab.network.namespaces import Namespace, join
from simulators.lab.network.picture import save_picture
from simulators.lab.network.traffic import ask
from simulators.lab.network.view import spread
from simulators.lab.processes import Child, LabError, command
from simulators.lab.world import wait_for
from tests.namespaces import needs


def test_a_spread_names_count_median_and_tail() -> None:
    assert spread([]) == {"n": 0}
    assert spread([0.3, 0.1, 0.2]) == {"n": 3, "p50": 0.2, "p99": 0.3, "max": 0.3}
    assert spread([*map(float, range(1, 101))])["p99"] == 99.0


def test_a_course_tells_how_fast_packets_come_and_draws_itself(tmp_path: Path) -> None:
    entry = {"access": "full", "epoch": 1}
    course = Course([Moment(at / 4, {"a": {**entry, "epoch": at // 8}}, {"a": 25 * at}) for at in range(40)])
    course.acts.append((3.0, "rotation"))
    assert course.rate("a") == pytest.approx(100)
    assert course.rate("b") == 0
    save_picture(course, tmp_path / "course.png", "one node")
    assert (tmp_path / "course.png").read_bytes().startswith(b"\x89PNG")


def test_traffic_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="does not answer"):
        ask(tmp_path / "nobody", {"op": "sent"})


@needs("nft")
def test_lost_and_repeated_packets_are_counted(tmp_path: Path) -> None:
    """Half of what one end sends is dropped by a filter, and all of it is missed at the other."""
    with ExitStack() as stack:
        ends = [stack.enter_context(Namespace()) for _ in range(2)]
        join(*ends)
        for number, end in enumerate(ends, 1):
            peer = f"192.0.2.{3 - number}"
            argv = [sys.executable, "-m", "simulators.lab.network.traffic", str(tmp_path / f"{number}")]
            child = Child("traffic", end.argv(*argv, f"192.0.2.{number}", "200", peer), tmp_path / "log").start()
            stack.callback(child.stop)
            wait_for("the traffic", lambda at=number: (tmp_path / f"{at}").exists() or None, 20, child)
        first, second = tmp_path / "1", tmp_path / "2"
        wait_for("packets", lambda: ask(second, {"op": "totals"}).get("192.0.2.1") or None, 10)
        rule = "add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c "
        ends[1].command("nft", rule + "udp dport 7700 numgen inc mod 2 0 drop")
        begin = ask(first, {"op": "sent"})["next"]["192.0.2.2"]
        enough = begin + 100
        wait_for("a hundred packets", lambda: ask(first, {"op": "sent"})["next"]["192.0.2.2"] > enough or None, 10)
        wait_for("the last of them", lambda: _came(second, enough, enough + 50) or None, 10)
        assert 45 <= _came(second, begin, begin + 100) <= 60


def _came(control: Path, begin: int, end: int) -> int:
    order = {"op": "received", "source": "192.0.2.1", "begin": begin, "end": end}
    found = ask(control, order)
    assert found["duplicated"] == 0
    return int(found["received"])


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs("wireguard-go")
def test_rotations_lose_nothing_and_a_node_that_fails_is_cut_off(tmp_path: Path) -> None:
    options = ["--nodes", "3", "--rotations", "3", "--demotions", "1"]
    files = ["--json", str(tmp_path / "report.json"), "--picture", str(tmp_path / "picture.png")]
    files += ["--keep", str(tmp_path / "lab")]
    done = subprocess.run(
        [command("keyvigil-lab"), "network", *options, *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["lost"], report["duplicated"], report["rotations"]) == (0, 0, 3)
    assert report["sent"] > 0
    assert (report["cut_s"]["n"], report["cut_unheeded_s"]["n"]) == (1, 1)
    assert (tmp_path / "picture.png").stat().st_size > 0
    assert not _running(str(tmp_path / "lab"))


def _running(folder: str) -> list[str]:
    """Command lines of processes that have to do with the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(file.read_text(errors="replace").replace("\0", " "))
    return [line for line in found if folder in line]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may make namespaces")
def test_without_root_the_lab_says_what_it_needs() -> None:
    done = subprocess.run([command("keyvigil-lab"), "network"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "sudo" in done.stderr
