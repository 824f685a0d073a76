from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from agent.config import parse_config
from agent.errors import ConfigError
from hal import available_drivers
from simulators.lab.policy import DEMO_POLICY
from simulators.lab.ports import free_port
from simulators.lab.processes import Child, LabError
from simulators.lab.station import Endpoints
from simulators.lab.world import Node, World, agent_config, wait_for

ENDPOINTS = Endpoints(
    pid=1,
    tcti="swtpm:path=/tmp/tpm",
    usbip="127.0.0.1:3240",
    camera="http://127.0.0.1:8080/stream.mjpg",
    microphone="sim",
    environment={"ALSA_CONFIG_PATH": "/tmp/asound.conf"},
    personas=["persona-a"],
)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return World(tmp_path, ["n1"], DEMO_POLICY, None).nodes[0]


def test_the_agents_configuration_is_one_that_the_agent_takes(node: Node) -> None:
    config = parse_config(agent_config(node, ENDPOINTS, 8443).encode())
    assert config.node.authority == "https://127.0.0.1:8443"
    assert config.state_dir == node.folder / "state"
    assert list(config.devices.sensors()) == ["fingerprint", "face", "voice"]
    pins = {section.driver: section.sha256 for section in config.devices.sensors().values()}
    assert pins == {name: available_drivers()[name].sha256 for name in pins}
    assert config.sinks[0].options == {"path": str(node.keys)}


def test_settings_replace_and_add_keys(node: Node) -> None:
    settings = {"prompt": {"retry_s": 9}, "enrolment": {"refusals": 2}}
    config = parse_config(agent_config(node, ENDPOINTS, 8443, settings).encode())
    assert config.prompt.retry_s == 9
    assert config.prompt.hook[-1] == str(node.folder / "control")
    assert config.enrolment.refusals == 2


def test_a_wrong_setting_does_not_pass_the_agent(node: Node) -> None:
    with pytest.raises(ConfigError):
        parse_config(agent_config(node, ENDPOINTS, 8443, {"prompt": {"retry": 9}}).encode())


def test_the_agent_hears_the_stations_microphone(node: Node) -> None:
    assert "ALSA_CONFIG_PATH" not in node.environment()
    node.endpoints = ENDPOINTS
    assert node.environment()["ALSA_CONFIG_PATH"] == "/tmp/asound.conf"


def test_a_station_that_is_not_there_is_an_error(node: Node) -> None:
    with pytest.raises(LabError, match="station of n1 does not answer"):
        node.send("persona-a")


def test_a_free_port_can_be_listened_on() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) == 20 and max(ports) < 32768
    with socket.create_server(("127.0.0.1", ports.pop())):
        pass


def test_waiting_gives_the_first_answer() -> None:
    answers = iter([None, None, 0, 1])
    assert wait_for("it", lambda: next(answers), 20) == 0


def test_waiting_ends_with_its_time() -> None:
    with pytest.raises(LabError, match="the moon did not happen within 0 s"):
        wait_for("the moon", lambda: None, 0)


def test_waiting_ends_with_the_process_that_was_waited_for(tmp_path: Path) -> None:
    child = Child("it", [sys.executable, "-c", "print('gone')"], tmp_path / "log").start()
    with pytest.raises(LabError, match="it ended with 0: gone"):
        wait_for("never", lambda: None, 60, child)


def test_a_world_that_was_not_started_has_no_processes(tmp_path: Path) -> None:
    with World(tmp_path, ["n1", "n2"], DEMO_POLICY, None) as world:
        assert world.children() == []
        world.check()
    assert [each.admin for each in world.nodes] == ["admin-1", "admin-2"]
