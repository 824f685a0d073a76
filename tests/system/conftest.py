"""Sites that the system tests share: real processes, started once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from simulators.lab.insider import Insider
from simulators.lab.processes import Child, command
from simulators.lab.world import Node, World, wait_for
from tests.system.harness import Site, secret_file
from tests.system.processes import Recorder

PERSON, IMPOSTOR = "persona-a", "persona-b"

POLICY = """\
version = "system-1"
lab = true
[challenge]
min_s = 3600
max_s = 7200
grace_s = 900
activation_s = 12
[speed]
min_elapsed_s = 0
[attestation]
interval_s = 3600
overdue_after_s = 86400
[isolation]
failures = 10
[lockout]
failures = 5
duration_s = 1
[scheduler]
refresh_s = 0.5
outage_s = 30
[enrolment.require]
voice = ["spoken-digits"]
[openings]
window_s = 900
"""
"""Challenges come when a test asks, openings are kept as long as the tests last, refused challenges neither isolate nor
lock out before the next test, and nobody has to make gestures."""

BRISK_POLICY = """\
version = "system-brisk"
lab = true
[challenge]
min_s = 3600
max_s = 7200
grace_s = 900
activation_s = 3
[speed]
min_elapsed_s = 0
[attestation]
interval_s = 1
answer_s = 5
overdue_after_s = 20
[certificate]
lifetime_s = 10
[isolation]
failures = 10
[lockout]
failures = 5
duration_s = 1
[scheduler]
refresh_s = 0.5
outage_s = 4
[enrolment.require]
voice = ["spoken-digits"]
"""
"""Deadlines and certificates of seconds."""

STILL = {"modalities.face.options": {"liveness": False}}
"""Gestures take longer than the challenges here last; the demo's test has them."""

QUICK = {
    "modalities.fingerprint.options": {"impressions": 3},
    "modalities.face.options": {"enrolled_frames": 2, "liveness": False},
    "modalities.voice.options": {"utterances": 2},
    "presentation": {"deadline_margin_s": 3, "failure_at_s": 5},
}


@pytest.fixture(scope="session")
def recorder() -> Iterator[Recorder]:
    """The arguments of every process that the tests start."""
    with Recorder() as running:
        yield running


@pytest.fixture(scope="session")
def folder(recorder: Recorder) -> Iterator[Path]:
    """A folder with a short path, because sockets lie in it; KEYVIGIL_KEEP keeps it."""
    made = Path(tempfile.mkdtemp(prefix="kv-"))
    try:
        yield made
    finally:
        if not os.environ.get("KEYVIGIL_KEEP"):
            shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def site(folder: Path) -> Iterator[Site]:
    """An authority and `node-a`, whose administrator `admin-1` is PERSON and has answered once; its agent runs."""
    (folder / "main").mkdir(exist_ok=True)
    with World(folder / "main", ["node-a"], POLICY, None, QUICK) as world:
        world.raise_authority()
        (node,) = world.nodes
        world.raise_station(node)
        made = Site(world)
        onboard(made, node)
        world.start_agent(node)
        wait_for("the first answer", lambda: made.node("node-a")["answered"] or None, 60, *world.children())
        yield made


def onboard(site: Site, node: Node) -> None:
    """Join and enrol as an operator and an administrator do it by hand; what the commands say goes into logs."""
    token = secret_file(node.folder / "join.token", site.token(node.name))
    _logged(node, "join", "--token-file", str(token))
    site.operator.post("/v1/networks/lab/members", {"node": node.name, "address": "10.77.0.1"})
    node.send(PERSON)
    ticket, pin = site.ticket(node.admin, node.name)
    files = [secret_file(node.folder / name, text) for name, text in (("ticket", ticket), ("pin", pin))]
    secrets = ["--ticket-file", str(files[0]), "--pin-file", str(files[1])]
    _logged(node, "enroll", "--admin", node.admin, "--accept-consent", *secrets)
    (profile,) = site.node(node.name)["profiles"]
    site.operator.post(f"/v1/profiles/{profile['record_id']}/approve")


def _logged(node: Node, name: str, *options: str) -> None:
    argv = [command("keyvigil"), name, "--config", str(node.config), *options]
    child = Child(f"keyvigil {name}", argv, node.folder / f"{name}.log", env=node.environment()).start()
    wait_for(f"the end of keyvigil {name}", lambda: child.process and child.process.poll(), 120)
    assert child.process is not None
    assert child.process.returncode == 0, child.log.read_text()


@pytest.fixture(scope="session")
def brisk(folder: Path) -> Iterator[Site]:
    """An authority whose deadlines and certificates last seconds; it has no nodes of its own."""
    (folder / "brisk").mkdir()
    with World(folder / "brisk", [], BRISK_POLICY, None, STILL) as world:
        world.raise_authority()
        yield Site(world)


@pytest.fixture
def insider(folder: Path) -> Iterator[Callable[[Site, str], Insider]]:
    """Makes nodes in the hands of an attacker; their TPMs end with the test."""
    with ExitStack() as stack:
        yield lambda at, name: stack.enter_context(Insider(at, name, at.world.folder / name))


@pytest.fixture(scope="session")
def read_so_far() -> dict[Path, int]:
    """How much of each log earlier tests have answered for, in characters."""
    return {}


@pytest.fixture(autouse=True)
def no_traceback(request: pytest.FixtureRequest, read_so_far: dict[Path, int]) -> Iterator[None]:
    """Fail a test during which any process wrote a traceback into its log."""
    yield
    if "folder" in request.fixturenames:
        made: Path = request.getfixturevalue("folder")
        faulty = [log for log in made.rglob("*.log") if "Traceback" in _news(log, read_so_far)]
        assert not faulty, f"a traceback stands in {', '.join(map(str, faulty))}"


def _news(log: Path, read_so_far: dict[Path, int]) -> str:
    text = log.read_text(errors="replace")
    begin, read_so_far[log] = read_so_far.get(log, 0), len(text)
    return text[begin:]


@pytest.fixture(autouse=True)
def every_process_lives(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which a process of a site has ended by itself."""
    yield
    for name in ("site", "brisk"):
        if name in request.fixturenames:
            request.getfixturevalue(name).world.check()
