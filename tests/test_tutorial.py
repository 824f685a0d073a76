"""docs/writing-a-driver.md, followed to the letter: its files are written, its commands are run."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from authority.trust import parse_policy
from tests.conftest import ROOT
from tests.layered import LayeredEnvironment

PAGE = ROOT / "docs" / "writing-a-driver.md"
BLOCK = re.compile(r"^```(\w+)(?: (file|fragment)=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

USE_ON_A_NODE = """
import json, sys, threading
from agent.capturing import Booth
from agent.clocks import StoppableClock
from agent.config import parse_config
from agent.devices import Devices
from agent.modalities import load_modalities, load_pipelines
from hal import Deadline
from keyvigil_grip_sim import SimulatedGrip

grip = SimulatedGrip()
config = parse_config(sys.stdin.read().replace("127.0.0.1:4711", grip.address).encode())
modalities = load_modalities(config)
devices = Devices(config, modalities)


class Prompter:
    def instruct(self, step):
        print(json.dumps([step.step, step.action]), file=sys.stderr)
        grip.squeeze(60 + step.attempt, 55, 41, 30)
        return True


def session(purpose, attempts):
    clock = StoppableClock(threading.Event())
    booth = Booth("node-a", "alice", purpose, devices, modalities, Prompter(), clock)
    with booth.session("grip", attempts, Deadline.after(20)) as session:
        return [session.take(attempt) for attempt in range(1, attempts + 1)], booth.seen["grip"]


pipeline = load_pipelines(modalities)["grip"]
good = [pipeline.examine(taken, "enrolment").features for taken in session("enrolment", 3)[0]]
(taken,), sensor = session("challenge", 1)
match = pipeline.match(pipeline.enrol(good), pipeline.examine(taken, "challenge").features)
print(json.dumps([match.accepted, sensor.kind, sensor.serial, sensor.driver_sha256]))
"""
"""What the daemon does with a configured sensor, without its authority."""


@dataclass(frozen=True)
class Block:
    """A fenced block of the page: a file, a fragment of one, or commands."""

    language: str
    role: str
    name: str
    text: str


def blocks() -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(PAGE.read_text())]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file of the page."""
    folder = tmp_path_factory.mktemp("tutorial")
    for block in blocks():
        if block.role == "file":
            file = folder / block.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
    return folder


@pytest.fixture(scope="module")
def said(project: Path, environment: LayeredEnvironment) -> dict[str, str]:
    """What each command of the page printed."""
    commands = [line[2:] for block in blocks() if block.language == "console" for line in block.text.splitlines()]
    return {command: environment.run(*shlex.split(command), cwd=project) for command in commands}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> LayeredEnvironment:
    return LayeredEnvironment(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def configuration(said: dict[str, str]) -> str:
    """A node's configuration with the page's fragment, and the hashes that the page's command printed."""
    seen = json.loads(said["keyvigil devices --json"])
    driver = next(each["sha256"] for each in seen["drivers"] if each["driver"] == "grip")
    modality = next(each["sha256"] for each in seen["modalities"] if each["modality"] == "grip")
    enclave = next(each["sha256"] for each in seen["drivers"] if each["driver"] == "tpm2")
    (fragment,) = [block.text for block in blocks() if block.name == "agent.toml"]
    node = 'name = "node-a"\nstate_dir = "/var/lib/keyvigil"\nauthority = "https://authority.example:8443"'
    whole = f'[node]\n{node}\n[presentation]\nminimum_modalities = 1\n[devices.enclave]\ndriver = "tpm2"\n'
    pinned = fragment.replace("SHA256-OF-THE-DRIVER", driver).replace("SHA256-OF-THE-MODALITY", modality)
    assert pinned.count(driver) >= 2
    return f'{whole}sha256 = "{enclave}"\n{pinned}'


def test_the_page_has_files_commands_and_fragments() -> None:
    roles = [(block.language, block.role) for block in blocks()]
    assert roles.count(("python", "file")) == 6
    assert roles.count(("toml", "fragment")) == 2
    assert ("console", "") in roles


def test_every_block_of_the_page_is_used() -> None:
    fences = len(re.findall(r"^```\w", PAGE.read_text(), re.MULTILINE))
    assert fences == sum(bool(block.role) or block.language == "console" for block in blocks())


def test_its_own_tests_pass(said: dict[str, str]) -> None:
    report = said["python -m pytest tests"]
    assert re.search(r"\d\d passed", report)
    assert "failed" not in report


def test_the_node_lists_the_driver_and_the_modality(said: dict[str, str]) -> None:
    seen = json.loads(said["keyvigil devices --json"])
    assert [each["error"] for each in seen["drivers"] if each["driver"] == "grip"] == [""]
    ours = {"fingerprint", "fingerprint-match", "face", "voice"}
    assert ours | {"grip"} == {each["modality"] for each in seen["modalities"]}


def test_a_node_that_pins_it_captures_enrols_and_matches(
    configuration: str, environment: LayeredEnvironment, project: Path
) -> None:
    printed = json.loads(environment.run("python", "-c", USE_ON_A_NODE, given=configuration))
    pin = tomllib.loads(configuration)["devices"]["grip"]["sha256"]
    assert printed == [True, "grip", "G-1", pin]


def test_a_node_refuses_it_when_a_byte_of_it_has_changed(
    configuration: str, environment: LayeredEnvironment, project: Path
) -> None:
    (module,) = environment.packages.glob("keyvigil_grip/modality.py")
    before = module.read_bytes()
    module.write_bytes(before + b"\n")
    try:
        with pytest.raises(AssertionError, match=r"PermissionDenied.*the configuration pins"):
            environment.run("python", "-c", USE_ON_A_NODE, given=configuration)
    finally:
        module.write_bytes(before)


def test_the_policy_takes_the_fragment() -> None:
    (fragment,) = [block.text for block in blocks() if block.name == "policy.toml"]
    assert parse_policy(f'version = "t"\n{fragment}').enrolment.modalities[-1] == "grip"
