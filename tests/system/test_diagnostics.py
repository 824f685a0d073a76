"""`keyvigil diag` on a lab node: well, and with one fault after another in what it stands on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hal import Deadline
from simulators.lab.processes import command
from simulators.lab.world import Node, World
from tests.system.conftest import POLICY, STILL
from tests.system.harness import refused

pytestmark = pytest.mark.system

Findings = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[World]:
    """A node of its own that has joined, without its agent, so that faults harm no other test."""
    (folder / "diag").mkdir()
    with World(folder / "diag", ["node-d"], POLICY, None, STILL) as world:
        world.raise_authority()
        (node,) = world.nodes
        world.raise_station(node)
        world.join(node)
        yield world


@pytest.fixture
def joined(lab: World) -> Node:
    return lab.nodes[0]


def diagnose(node: Node, *options: str) -> tuple[int, Findings]:
    """Exit status and findings by subject (without the driver's name) and id."""
    argv = [command("keyvigil"), "diag", "--unattended", "--json", "--config", os.fspath(node.config), *options]
    done = subprocess.run(argv, env=node.environment(), capture_output=True, text=True, timeout=110, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert all(found["remedy"] for found in findings if found["severity"] in {"warning", "error"})
    return done.returncode, {(found["subject"].partition(" ")[0], found["id"]): found for found in findings}


def errors(findings: Findings) -> set[tuple[str, str]]:
    return {key for key, found in findings.items() if found["severity"] == "error"}


def test_a_node_that_is_well(joined: Node) -> None:
    status, found = diagnose(joined)
    assert errors(found) == set()
    assert status == (3 if any(each["severity"] == "warning" for each in found.values()) else 0)
    well = {
        ("fingerprint", "device.usable"),
        ("face", "camera.frames"),
        ("voice", "microphone.level"),
        ("enclave", "enclave.usable"),
        ("enclave", "tpm.certificate"),
        ("authority", "authority.reachable"),
        ("authority", "authority.clock"),
        ("authority", "authority.certificate"),
        ("host", "host.state"),
        ("host", "host.disk"),
    }
    assert {found[key]["severity"] for key in well} == {"ok"}
    assert "pinned at joining" in found["authority", "authority.reachable"]["what"]


def test_an_enclave_in_use_and_sensors_in_use_are_not_errors(joined: Node) -> None:
    from agent.state import StateDirectory

    state = StateDirectory.open(joined.folder / "state")
    with state.sensor_lock(Deadline.after(5)):
        status, found = diagnose(joined)
    assert status == 3
    assert found["", "device.busy"]["severity"] == "warning"
    assert ("face", "camera.frames") not in found


def test_a_clock_that_runs_wrong_is_seen(joined: Node, tmp_path: Path) -> None:
    """Another time than the authority's, without touching the machine's clock."""
    script = (
        "import sys, time; import agent.diagnostics.authority as a;"
        "real = time.time; a.examine.__defaults__ = (lambda: real() - 300,);"
        "from agent.cli import main; main(sys.argv[1:])"
    )
    argv = ["diag", "--unattended", "--json", "--config", os.fspath(joined.config)]
    done = subprocess.run(
        [sys.executable, "-c", script, *argv],
        env=joined.environment(),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    found = {each["id"]: each for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert found["authority.clock"]["severity"] == "error"
    assert found["authority.clock"]["facts"]["skew_s"] == pytest.approx(300, abs=3)
    assert "behind the authority's" in found["authority.clock"]["what"]


def test_another_authority_at_the_same_place_is_not_trusted(lab: World, joined: Node, folder: Path) -> None:
    """The authority is replaced by one with keys of its own on the same port."""
    other = folder / "diag-other"
    other.mkdir()
    lab.authority.server.stop()
    with World(other, [], POLICY, None, STILL) as world:
        world.authority.node_port = lab.authority.node_port
        world.raise_authority()
        status, found = diagnose(joined)
    assert status == 1
    assert errors(found) == {("authority", "authority.reachable")}
    assert "not the authority that the node joined" in found["authority", "authority.reachable"]["remedy"]


def test_an_authority_that_is_gone(joined: Node) -> None:
    status, found = diagnose(joined)
    assert (status, errors(found)) == (1, {("authority", "authority.reachable")})


def test_a_state_directory_that_others_may_enter(joined: Node) -> None:
    state = joined.folder / "state"
    state.chmod(0o755)
    try:
        _, found = diagnose(joined)
    finally:
        state.chmod(0o700)
    assert found["host", "host.state"]["remedy"] == f"chmod 700 {state}"


def test_a_damaged_identity(joined: Node) -> None:
    identity = joined.folder / "state" / "identity.json"
    good = identity.read_bytes()
    identity.write_bytes(b"\xff garbage")
    try:
        status, found = diagnose(joined)
    finally:
        identity.write_bytes(good)
    assert status == 1
    assert found["authority", "authority.identity"]["severity"] == "error"


def test_devices_that_are_gone(joined: Node) -> None:
    """The station ends, and with it reader, camera, microphone and TPM."""
    joined.station.stop()
    status, found = diagnose(joined)
    assert status == 1
    gone = {("fingerprint", "device.usable"), ("face", "device.usable"), ("enclave", "enclave.usable")}
    assert gone <= errors(found)
    assert found["host", "host.state"]["severity"] == "ok"


def test_the_command_line_says_what_to_do_where_nobody_is(joined: Node) -> None:
    said = refused("keyvigil", "diag", "--config", os.fspath(joined.config), env=joined.environment())
    assert said.status == 1
    assert said.remedy


def test_a_support_archive_of_a_real_node(joined: Node) -> None:
    """Of a node that joined: no key of its own, and no token that was handed over, is in it."""
    import gzip

    from tests.system.needles import Needle, leaks

    target = joined.folder / "b.tgz"
    diagnose(joined, "--bundle", os.fspath(target))
    state = joined.folder / "state"
    identity = json.loads((state / "identity.json").read_bytes())
    token = (joined.folder / "join.token").read_text().strip()
    pem = (state / identity["tls_file"]).read_bytes()
    needles = [
        Needle.of_text("the join token", token),
        *(Needle(f"line {n} of the TLS file", [line]) for n, line in enumerate(pem.splitlines()) if len(line) == 64),
    ]
    data = target.read_bytes()
    assert leaks(needles, iter([("archive", data), ("tar", gzip.decompress(data))])) == []
    assert leaks(needles, iter([("state", pem + token.encode())])) != []
