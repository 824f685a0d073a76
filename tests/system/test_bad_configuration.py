"""Configurations that cannot be used, devices that are not there, and disks that are full, at a node."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simulators.lab.insider import Insider
from simulators.lab.processes import Child, command
from simulators.lab.site import bare_config
from simulators.lab.world import agent_config, wait_for
from tests.system.full_disk import SmallDisk, small_disk
from tests.system.harness import Site, name_for, refused, secret_file

pytestmark = pytest.mark.system

COMMANDS = (["agent", "run"], ["status"], ["devices"])


@pytest.fixture
def scratch(folder: Path, request: pytest.FixtureRequest) -> Path:
    made = folder / "main" / name_for(request.node.name)
    made.mkdir(mode=0o700, parents=True)
    return made


def configuration(site: Site, scratch: Path) -> str:
    """The running node's configuration with a state directory of its own."""
    (node,) = site.world.nodes
    assert node.endpoints is not None
    text = agent_config(node, node.endpoints, site.authority.node_port)
    return text.replace(os.fspath(node.folder / "state"), os.fspath(scratch / "state"))


def write(scratch: Path, text: str) -> str:
    file = scratch / "agent.toml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_unknown_key_is_named(site: Site, scratch: Path, words: list[str]) -> None:
    config = write(scratch, configuration(site, scratch).replace("retry_min_s", "retry_mni_s"))
    said = refused("keyvigil", *words, "--config", config)
    assert said.status == 2
    assert "retry_mni_s" in said.error
    assert config in said.error
    assert "unknown key" in said.remedy


@pytest.mark.parametrize("text", ["", "not toml", "[node]\nname = 3\n", "\x00", "a = " + "[" * 5000])
def test_a_file_that_is_no_configuration_is_named(site: Site, scratch: Path, text: str) -> None:
    config = write(scratch, text)
    said = refused("keyvigil", "agent", "run", "--config", config)
    assert said.status == 2
    assert config in said.error


def test_a_configuration_that_is_not_there_is_named(scratch: Path) -> None:
    said = refused("keyvigil", "agent", "run", "--config", str(scratch / "absent.toml"))
    assert said.status == 2
    assert "absent.toml" in said.error


def test_a_configuration_that_may_not_be_read_is_named(site: Site, scratch: Path) -> None:
    """A folder in its place: root, who runs tests in containers, may read every file."""
    (scratch / "agent.toml").mkdir()
    said = refused("keyvigil", "status", "--config", str(scratch / "agent.toml"))
    assert said.status == 2
    assert "directory" in said.error.lower()


def test_a_driver_of_another_hash_is_not_loaded(site: Site, scratch: Path) -> None:
    text = configuration(site, scratch)
    pinned = text.split('sha256 = "')[1][:64]
    config = write(scratch, text.replace(pinned, "0" * 64))
    token = secret_file(scratch / "token", site.token("unpinned"))
    said = refused("keyvigil", "join", "--config", config, "--token-file", str(token), "--json")
    assert pinned in said.error
    assert "configuration pins" in said.error
    assert "unpinned" not in site.names()


def test_an_agent_does_not_start_with_a_driver_of_another_hash(site: Site, scratch: Path) -> None:
    """Before it runs, so that nobody's presentation fails for it."""
    (node,) = site.world.nodes
    text = node.config.read_text()
    parts = text.split('sha256 = "')
    assert len(parts) == 5
    changed = 'sha256 = "'.join([*parts[:2], "0" * 64 + parts[2][64:], *parts[3:]])
    node.agent.stop()
    try:
        said = refused("keyvigil", "agent", "run", "--config", write(scratch, changed), env=node.environment())
        assert "configuration pins " + "0" * 64 in said.error
        assert "new hash" in said.remedy
    finally:
        site.world.start_agent(node)


def test_the_state_of_another_user_is_not_used(site: Site, scratch: Path) -> None:
    (scratch / "state").mkdir(mode=0o755)
    said = refused("keyvigil", "status", "--config", write(scratch, configuration(site, scratch)))
    assert "open to other users" in said.error
    assert "chmod 700" in said.remedy


def test_an_agent_that_has_not_joined_says_so(site: Site, scratch: Path) -> None:
    said = refused("keyvigil", "agent", "run", "--config", write(scratch, configuration(site, scratch)))
    assert "has not joined" in said.error
    assert "keyvigil join" in said.remedy


def test_a_second_agent_on_the_same_state_is_refused(site: Site) -> None:
    (node,) = site.world.nodes
    said = refused("keyvigil", "agent", "run", "--config", str(node.config), env=node.environment())
    assert "already running" in said.error


def test_a_tpm_that_is_not_there_is_named(site: Site, scratch: Path) -> None:
    config = bare_config(scratch, "no-tpm", site.url, f"swtpm:path={scratch}/absent")
    token = secret_file(scratch / "token", site.token("no-tpm"))
    said = refused("keyvigil", "join", "--config", str(config), "--token-file", str(token), "--json")
    assert "absent" in said.error
    assert "no-tpm" not in site.names()


@pytest.fixture
def unplugged(site: Site, scratch: Path) -> Iterator[str]:
    """`node-a` without its agent, configured for a reader and a camera that are not there; it runs again after."""
    (node,) = site.world.nodes
    assert node.endpoints is not None
    text = node.config.read_text().replace(node.endpoints.usbip, "127.0.0.1:1")
    node.agent.stop()
    try:
        yield write(scratch, text.replace(f":{node.camera_port}/", ":1/"))
    finally:
        node.agent.stop()
        site.world.start_agent(node)


def test_no_one_is_enrolled_at_sensors_that_are_not_there(site: Site, scratch: Path, unplugged: str) -> None:
    (node,) = site.world.nodes
    ticket, pin = site.ticket(node.admin, node.name)
    files = [secret_file(scratch / name, text) for name, text in (("ticket", ticket), ("pin", pin))]
    secrets = ["--ticket-file", str(files[0]), "--pin-file", str(files[1]), "--accept-consent"]
    before = len(list((node.folder / "state" / "profiles").iterdir()))
    said = refused("keyvigil", "enroll", "--config", unplugged, "--admin", node.admin, "--json", *secrets)
    assert "USB/IP server cannot be reached" in said.error
    assert "Plug the device in" in said.remedy
    assert len(list((node.folder / "state" / "profiles").iterdir())) == before


@pytest.mark.slow
def test_a_summons_waits_until_the_sensors_are_back(site: Site, scratch: Path, unplugged: str) -> None:
    """Nothing is begun before sensors that are not there, so that nothing fails."""
    (node,) = site.world.nodes
    log = scratch / "agent.log"
    agent = Child("agent without sensors", [command("keyvigil"), "agent", "run", "--config", unplugged], log)
    agent.env = node.environment()
    mark, challenge = site.since(), site.challenge(node.name)
    try:
        agent.start()
        wait_for("the agent's word", lambda: "2 working sensors are needed" in log.read_text() or None, 30, agent)
        assert site.node(node.name)["challenge"]["state"] == "summoned"
    finally:
        agent.stop()
    site.world.start_agent(node)
    assert site.ended(node.name, challenge, 60) == "accepted"
    assert mark.audits("presentation", kind="failed") == []


@pytest.fixture
def disk(scratch: Path) -> Iterator[SmallDisk]:
    """A disk for one node's state."""
    with small_disk(scratch / "state", "1m") as made:
        yield made


def test_a_node_does_not_join_on_a_full_disk(
    site: Site, scratch: Path, disk: SmallDisk, insider: Callable[[Site, str], Insider]
) -> None:
    machine = insider(site, name_for("full disk"))
    config = bare_config(scratch, machine.name, site.url, machine.tpm.tcti)
    disk.fill()
    for _ in range(2):
        token = secret_file(scratch / "token", site.token(machine.name))
        said = refused("keyvigil", "join", "--config", str(config), "--token-file", str(token), "--json")
        assert "No space left" in said.error
        assert "Free space" in said.remedy
        assert not (scratch / "state" / "identity.json").exists()


def test_an_agent_on_a_full_disk_keeps_what_it_has(
    site: Site, disk: SmallDisk, insider: Callable[[Site, str], Insider]
) -> None:
    """Keys of a delivery that cannot be recorded are not installed, and come once there is room."""
    machine = insider(site, disk.folder.parent.name).join().enrol()
    machine.answer()
    site.operator.post("/v1/networks/lab/members", {"node": machine.name, "address": "10.77.0.99"})
    log, deliveries = machine.folder / "agent.log", disk.folder / "deliveries.json"
    run = [command("keyvigil"), "agent", "run", "--config", str(machine.config)]
    agent = Child("agent on a full disk", run, log)
    try:
        agent.start()
        wait_for("the first delivery", lambda: deliveries.exists() or None, 30, agent)
        disk.fill()
        kept = deliveries.read_bytes()
        site.operator.post(f"/v1/nodes/{machine.name}/isolate", {"reason": "a delivery"})
        wait_for("the agent's word", lambda: "Free space" in log.read_text() or None, 30, agent)
        assert deliveries.read_bytes() == kept
        disk.free()
        site.operator.post(f"/v1/nodes/{machine.name}/release", {"reason": "another"})
        wait_for("the next delivery", lambda: deliveries.read_bytes() != kept or None, 30, agent)
        agent.check()
    finally:
        agent.stop()
