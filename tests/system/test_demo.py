"""The demo as somebody sees it who has just cloned the project."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from simulators.lab.network.plane import FILE, DataPlane, find_data_plane
from simulators.lab.processes import command
from simulators.lab.world import wait_for
from tests.system.processes import Recorder, alive

pytestmark = pytest.mark.system

ACTS = ("Starting", "Onboarding", "Challenges answered", "slow and careless", "another person", "is back")
SECONDS = 420
SOUND = "pulse"
"""In the names of what the sound library's PulseAudio client leaves, in which nothing of ours is."""


KERNEL_FILES = (Path("/run/netns"), Path("/run/wireguard"))
"""Where network namespaces and tunnels have their names."""


@dataclass(frozen=True)
class Shown:
    """What a run of the demo left: status, events, processes, and every file outside the checkout."""

    pid: int
    status: int
    events: list[dict[str, Any]]
    errors: str
    processes: dict[int, str]
    leftovers: list[str]
    packets: bool

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


@pytest.fixture(scope="module", params=["--no-packets", pytest.param("--packets", marks=pytest.mark.slow)])
def shown(request: pytest.FixtureRequest) -> Iterator[Shown]:
    """Without packets it takes half the time; with them it is among the long tests."""
    with tempfile.TemporaryDirectory(prefix="kv-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        own = {"TMPDIR": folder, "HOME": str(home), "XDG_CACHE_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
        argv, env = [command("keyvigil-lab"), "demo", "--json", request.param], {**os.environ, **own}
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
            try:
                with Recorder(demo.pid) as recorder:
                    output, errors = demo.communicate(timeout=SECONDS)
            finally:
                demo.terminate()
        events = [json.loads(line) for line in output.splitlines()]
        left = [str(path) for path in Path(folder).rglob("*") if path != home and SOUND not in str(path)]
        packets = request.param == "--packets"
        yield Shown(demo.pid, demo.returncode, events, errors, recorder.seen, left, packets)


@pytest.mark.timeout(SECONDS + 20)
def test_it_ends_by_itself_and_shows_what_it_set_out_to(shown: Shown) -> None:
    assert shown.status == 0, shown.errors
    (summary,) = shown.of("summary")
    assert summary["ok"], [finding for finding in summary["findings"] if not finding["met"]]
    assert all(finding["met"] for finding in summary["findings"])
    assert "Traceback" not in shown.errors


def test_it_prints_its_policy_first(shown: Shown) -> None:
    assert shown.events[0]["event"] == "policy"
    assert "lab = true" in shown.events[0]["toml"]


def test_the_acts_come_in_order(shown: Shown) -> None:
    titles = [event["title"] for event in shown.of("act")]
    assert len(titles) == len(ACTS), titles
    places = [next(at for at, title in enumerate(titles) if words in title) for words in ACTS]
    assert places[:3] == [0, 1, 2]
    assert sorted(places[3:5]) == [3, 4]
    assert places[5] == 5


def test_every_tier_is_seen_with_its_keys(shown: Shown) -> None:
    nodes = shown.of("node")
    seen = {(node["tier"], node["version_state"], node["rotation"], node["access"]) for node in nodes}
    assert ("high", "latest", "standard", "full") in seen
    assert ("medium", "previous", "increased", "limited") in seen
    assert ("low", "outdated", "very-fast", "restricted") in seen
    assert any(node["state"] == "isolated" for node in nodes)


def test_it_names_its_data_plane_and_packets_follow_trust_where_they_can_pass(shown: Shown) -> None:
    (plane,) = shown.of("data plane")
    expected = find_data_plane() if shown.packets else DataPlane(FILE, "no other was asked for")
    assert plane["name"] == expected.name, plane["why"]
    (summary,) = shown.of("summary")
    packets = {finding["act"]: finding for finding in summary["findings"] if finding["act"].startswith("packets")}
    if not expected.carries:
        assert not packets
        return
    ends = ["all nodes", "node-b, limited", "node-c, isolated", "node-c, released"]
    assert sorted(packets) == sorted(f"packets: {end}" for end in ends)
    assert all(finding["met"] for finding in packets.values()), packets
    assert summary["numbers"]["packets that came"] > 0


def test_every_alert_is_told_once(shown: Shown) -> None:
    alerts = shown.of("alert")
    assert len({alert["id"] for alert in alerts}) == len(alerts) > 0
    assert all(alert["text"] for alert in alerts)


def test_no_process_is_left_behind(shown: Shown) -> None:
    started = " ".join(shown.processes.values())
    assert all(name in started for name in ("keyvigil-authority serve", "keyvigil agent run", "station", "swtpm"))
    wait_for("the end of every process", lambda: not any(map(alive, shown.processes)) or None, 5)


def test_it_leaves_no_file_behind(shown: Shown) -> None:
    """Its own folder is gone, and no library keeps an identifier of this machine to report somewhere."""
    assert shown.leftovers == []
    assert [path for folder in KERNEL_FILES for path in folder.glob(f"kv{shown.pid}[nw]*")] == []
