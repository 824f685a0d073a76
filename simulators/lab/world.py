"""A site in miniature: one authority and some nodes as separate processes, on simulated devices."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from authority.cli.client import OperatorClient, target
from simulators.devices.swtpm import SwtpmFactory
from simulators.lab import hook
from simulators.lab.drivers_of import driver_hashes
from simulators.lab.hook import CONTROL_SOCKET
from simulators.lab.ports import free_port
from simulators.lab.processes import Child, LabError, command, run
from simulators.lab.station import READY_FILE, Endpoints, StationConfig

T = TypeVar("T")
START_S = 60.0
NETWORK = "lab"
LOOPBACK = "127.0.0.1"
RESOURCE_CLASSES = ("critical", "normal", "normal")
FAILURE_AT_S = 18
"""Sooner than the end of the lab's 28 s, so that nobody who watches waits for a failure longer than it takes."""
Settings = Mapping[str, Mapping[str, object]]
"""Sections of an agent's configuration with the keys that differ from the lab's."""


class Wires(Protocol):
    """Networks of their own for the nodes of a world."""

    address: str
    """Where the authority is reached from every one of them."""

    def plug(self, name: str, folder: Path) -> None:
        """Give the node a network."""
        ...

    def argv(self, name: str, command: Sequence[str]) -> list[str]:
        """The command, to be run in the node's network."""
        ...

    def sink(self, name: str, network: str) -> tuple[str, Mapping[str, object]]:
        """Kind and options of the sink that gives the node's keys to its data plane."""
        ...

    def endpoint(self, name: str) -> str:
        """IP address under which its peers reach the node."""
        ...


def wait_for(what: str, probe: Callable[[], T | None], seconds: float, *children: Child) -> T:
    """The first answer of `probe` that is not None; raises `LabError` when a child ends or time runs out."""
    limit = time.monotonic() + seconds
    while (found := probe()) is None:
        for child in children:
            child.check()
        if time.monotonic() > limit:
            raise LabError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.05)
    return found


@dataclass
class Authority:
    """A running authority, spoken to through its own command line and operator API."""

    folder: Path
    node_port: int
    operator_port: int
    address: str = LOOPBACK
    server: Child = field(init=False)

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self.folder / "state"

    def initialise(self, tpm_roots: Path, policy: Path) -> None:
        """Make its keys, database and configuration."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        where = ["--node-port", str(self.node_port), "--operator-port", str(self.operator_port)]
        options = ["--name", self.address, "--listen", self.address, "--lab-roots", os.fspath(tpm_roots)]
        self.call("init", *where, *options, "--policy", os.fspath(policy))
        argv = [command("keyvigil-authority"), "serve", "--state", os.fspath(self.state)]
        self.server = Child("authority", argv, self.folder / "authority.log")

    def start(self) -> None:
        """Serve, and return when the operator plane answers."""
        self.server.start()
        self.await_answer()

    def await_answer(self) -> None:
        """Return when the operator plane answers."""
        wait_for("the authority's first answer", self._answers, START_S, self.server)

    def call(self, *arguments: str) -> Any:
        """What a command of `keyvigil-authority` printed as JSON."""
        argv = [command("keyvigil-authority"), *arguments, "--state", os.fspath(self.state), "--json"]
        return json.loads(run(argv))

    def _answers(self) -> bool | None:
        with suppress(OSError), socket.create_connection((self.address, self.operator_port), 0.2):
            return True
        return None


@dataclass
class Node:
    """A simulated node: its station, its agent, and its folder."""

    name: str
    folder: Path
    admin: str
    station: Child
    agent: Child
    camera_port: int
    endpoints: Endpoints | None = None
    wires: Wires | None = None

    @property
    def config(self) -> Path:
        """The agent's configuration."""
        return self.folder / "agent.toml"

    @property
    def keys(self) -> Path:
        """Where the file sink keeps the node's keys."""
        return self.folder / "keys.json"

    def lost_keys(self, seconds: float = 5.0) -> bool:
        """Whether the file sink is without any pair key within `seconds`."""
        with suppress(LabError):
            return wait_for("the loss of all keys", lambda: None if self._holds_keys() else True, seconds)
        return False

    def _holds_keys(self) -> bool:
        return self.keys.exists() and '"key"' in self.keys.read_text()

    def send(self, person: str | None, *, delay_s: float = 0.0, care: float = 1.0) -> None:
        """Who answers at this node from now on, and how."""
        self.tell({"op": "send", "person": person, "delay_s": delay_s, "care": care})

    def tell(self, order: dict[str, object]) -> dict[str, object]:
        """One command to the station; raises `LabError` when it refuses."""
        try:
            answer = hook.ask(os.fspath(self.folder / CONTROL_SOCKET), order)
        except OSError as error:
            raise LabError(f"the station of {self.name} does not answer: {error}") from None
        if not answer["ok"]:
            raise LabError(f"the station of {self.name} refused: {answer['error']}")
        return answer

    def environment(self) -> dict[str, str]:
        """What the agent's process needs to hear the simulated microphone."""
        return {**os.environ, **(self.endpoints.environment if self.endpoints else {})}

    def call(self, *arguments: str, timeout: float = 90) -> Any:
        """What a command of `keyvigil` printed as JSON."""
        argv = self.argv(command("keyvigil"), *arguments, "--config", os.fspath(self.config), "--json")
        return json.loads(run(argv, env=self.environment(), timeout=timeout))

    def argv(self, *command: str) -> list[str]:
        """The command, to be run at this node."""
        return [*command] if self.wires is None else self.wires.argv(self.name, command)

    def sinks(self) -> list[tuple[str, Mapping[str, object]]]:
        """Where its keys go: into a file, and to its data plane if it has one."""
        file = ("file", {"path": os.fspath(self.keys)})
        return [file] if self.wires is None else [file, self.wires.sink(self.name, NETWORK)]


class World:
    """Makes the processes and ends them; a context manager. `settings` goes into every agent's configuration.

    With `wires`, which outlive it, every node has a network of its own, and a data plane beside its file of keys.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        policy: str,
        data: Path | None,
        settings: Settings | None = None,
        wires: Wires | None = None,
    ) -> None:
        self.folder = folder
        self._wires = wires
        self._settings = settings or {}
        self._data = data
        self._factory = SwtpmFactory(folder / "tpm")
        self._policy = policy
        self.authority = Authority(folder / "authority", free_port(), free_port())
        if wires is not None:
            self.authority.address = wires.address
        self.nodes = [self._make_node(name, number) for number, name in enumerate(names, 1)]

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_error: object) -> None:
        for child in self.children():
            child.stop()

    def children(self) -> list[Child]:
        """Every process that was started, agents first."""
        made = [node.agent for node in self.nodes] + [node.station for node in self.nodes]
        server = getattr(self.authority, "server", None)
        return [child for child in [*made, server] if child is not None and child.process is not None]

    def check(self) -> None:
        """Raise `LabError` when a process ended by itself."""
        for child in self.children():
            child.check()

    def raise_authority(self) -> None:
        """Initialise and start the authority, with the software TPMs' manufacturer as a lab root."""
        roots, policy = self.folder / "tpm-roots.pem", self.folder / "policy.toml"
        roots.write_bytes(self._factory.ca_certificates)
        policy.write_text(self._policy)
        self.authority.initialise(roots, policy)
        self.authority.start()
        self.authority.call("network", "create", NETWORK)

    def raise_station(self, node: Node) -> None:
        """Start the simulated devices of a node and write its agent's configuration."""
        state = self._factory.manufacture(node.name)
        config = StationConfig(
            folder=os.fspath(node.folder),
            tpm_state=os.fspath(state.path),
            serial=f"SIM-{node.name}",
            camera_port=node.camera_port,
            data=None if self._data is None else os.fspath(self._data),
        )
        (node.folder / "station.in").write_bytes(msgspec.json.encode(config))
        ready = node.folder / READY_FILE
        ready.unlink(missing_ok=True)
        node.station.start()
        found = wait_for(f"the station of {node.name}", lambda: _read(ready), START_S, node.station)
        node.endpoints = found
        node.config.write_text(agent_config(node, found, self.authority.node_port, self._settings))

    def join(self, node: Node, resource_class: str | None = None) -> None:
        """Onboard the node: token, join, membership in the lab's network."""
        token = node.folder / "join.token"
        self.authority.call("node", "token", "--name", node.name, "--lab", "--out", os.fspath(token))
        node.call("join", "--token-file", os.fspath(token))
        number = self.nodes.index(node)
        where = ["--node", node.name, "--address", f"10.77.0.{number + 1}"]
        resource = resource_class or RESOURCE_CLASSES[number % len(RESOURCE_CLASSES)]
        self.authority.call("network", "add", NETWORK, *where, "--class", resource)
        if self._wires is not None:
            operator = OperatorClient(target(self.authority.state, None, None, None))
            operator.post(f"/v1/mapping/nodes/{node.name}", {"endpoint": self._wires.endpoint(node.name)})

    def enrol(self, node: Node, person: str) -> str:
        """Onboard the node's administrator, played by `person`; the approved record's id."""
        node.send(person)
        ticket, pin = node.folder / "ticket", node.folder / "pin"
        out = ["--out", os.fspath(ticket), "--pin-out", os.fspath(pin)]
        self.authority.call("admin", "ticket", "--admin", node.admin, "--node", node.name, *out)
        secrets = ["--ticket-file", os.fspath(ticket), "--pin-file", os.fspath(pin)]
        made = node.call("enroll", "--admin", node.admin, *secrets, "--accept-consent")
        self.authority.call("admin", "approve", made["record_id"])
        return str(made["record_id"])

    def _make_node(self, name: str, number: int) -> Node:
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        if self._wires is not None:
            self._wires.plug(name, folder)
        station_argv = [command("keyvigil-lab"), "station", "--config", os.fspath(folder / "station.in")]
        agent_argv = [command("keyvigil"), "agent", "run", "--config", os.fspath(folder / "agent.toml")]
        node = Node(
            name=name,
            folder=folder,
            admin=f"admin-{number}",
            station=Child(f"station of {name}", station_argv, folder / "station.log"),
            agent=Child(f"agent of {name}", agent_argv, folder / "agent.log"),
            camera_port=free_port(),
            wires=self._wires,
        )
        for child in (node.station, node.agent):
            child.argv = node.argv(*child.argv)
        return node

    def start_agent(self, node: Node) -> None:
        """Run the node's daemon."""
        node.agent.env = node.environment()
        node.agent.start()


def agent_config(node: Node, endpoints: Endpoints, node_port: int, settings: Settings | None = None) -> str:
    """The agent's TOML: shipped drivers pinned by their hashes, pointed at the simulated devices."""
    hook_argv = [sys.executable, "-I", "-S", hook.__file__, os.fspath(node.folder / CONTROL_SOCKET)]
    sections: dict[str, dict[str, object]] = {
        "node": {
            "name": node.name,
            "state_dir": os.fspath(node.folder / "state"),
            "authority": f"https://{LOOPBACK if node.wires is None else node.wires.address}:{node_port}",
        },
        "prompt": {"hook": hook_argv, "hook_timeout_s": 30, "retry_s": 2},
        "presentation": {"failure_at_s": FAILURE_AT_S},
        "connection": {"retry_min_s": 0.2, "retry_max_s": 2},
        "log": {"format": "json"},
        "debug": {"timings": True},
    }
    for title, values in (settings or {}).items():
        sections.setdefault(title, {}).update(values)
    lines = [line for title, values in sections.items() for line in _section(title, values)]
    lines += _devices(node, endpoints)
    for kind, options in node.sinks():
        lines += ["[[sinks]]", f"kind = {_toml(kind)}", *_section("sinks.options", options)]
    return "\n".join(lines) + "\n"


def _devices(node: Node, endpoints: Endpoints) -> list[str]:
    drivers = driver_hashes(command("keyvigil"))
    devices: dict[str, tuple[str, dict[str, object]]] = {
        "fingerprint": ("uru4000", {"usbip": endpoints.usbip, "serial": f"SIM-{node.name}"}),
        "face": ("opencv", {"source": endpoints.camera}),
        "voice": ("portaudio", {"device": endpoints.microphone}),
        "enclave": ("tpm2", {"tcti": endpoints.tcti}),
    }
    lines: list[str] = []
    for title, (driver, options) in devices.items():
        lines += _section(f"devices.{title}", {"driver": driver, "sha256": drivers[driver]})
        lines += _section(f"devices.{title}.options", options)
    return lines


def _section(title: str, values: Mapping[str, object]) -> list[str]:
    return [f"[{title}]", *(f"{key} = {_toml(value)}" for key, value in values.items()), ""]


def _toml(value: object) -> str:
    """A JSON string or array of strings is TOML as it stands."""
    return json.dumps(value)


def _read(ready: Path) -> Endpoints | None:
    return msgspec.json.decode(ready.read_bytes(), type=Endpoints) if ready.exists() else None
