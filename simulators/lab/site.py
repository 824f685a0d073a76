"""A running site with the eyes of its operator, and the configuration of nodes that nobody sits at."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from authority.cli.client import OperatorClient, target
from authority.trust import parse_policy
from simulators.devices.swtpm import SwtpmFactory
from simulators.lab.drivers_of import driver_hashes
from simulators.lab.processes import command
from simulators.lab.world import World, wait_for

OPEN = {"summoned", "activated"}
SOON_S = 20.0
"""What should happen at once, on a machine that is busy."""


class LabSite:
    """What an operator sees and does at a running site."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.authority = world.authority
        self.factory = SwtpmFactory(world.folder / "tpm")
        self.policy = parse_policy((world.folder / "policy.toml").read_text())
        self.operator = OperatorClient(target(self.authority.state, None, None, None))

    @property
    def url(self) -> str:
        """Where nodes reach the authority."""
        return f"https://{self.authority.address}:{self.authority.node_port}"

    def node(self, name: str) -> dict[str, Any]:
        """All that the operator sees of a node."""
        found: dict[str, Any] = self.operator.get(f"/v1/nodes/{name}")
        return found

    def names(self) -> list[str]:
        """Names of the nodes."""
        return [entry["name"] for entry in self.operator.get("/v1/nodes")]

    def connections(self) -> int:
        """How many nodes hold a connection now."""
        return int(self.operator.get("/v1/health")["connected"])

    def token(self, name: str, *, lab: bool = True) -> str:
        """A new join token for a node of this name."""
        return str(self.operator.post("/v1/join-tokens", {"name": name, "lab": lab})["token"])

    def ticket(self, admin: str, node: str) -> tuple[str, str]:
        """A ticket and its PIN."""
        made = self.operator.post(f"/v1/admins/{admin}/tickets", {"node": node})
        return made["ticket"], made["pin"]

    def challenge(self, name: str) -> str:
        """Summon somebody to the node; the challenge's id."""
        self.operator.post(f"/v1/nodes/{name}/challenge")
        return str(self.node(name)["challenge"]["id"])

    def reaches(self, name: str, challenge_id: str, state: str, seconds: float = SOON_S) -> None:
        """Wait until this challenge is in `state`."""
        what = f"challenge {challenge_id} of {name} is {state}"
        wait_for(what, lambda: self._state(name, challenge_id) == state or None, seconds)

    def ended(self, name: str, challenge_id: str, seconds: float = SOON_S) -> str:
        """How this challenge, the node's newest, ends."""

        def probe() -> str | None:
            state = self._state(name, challenge_id)
            return None if state in OPEN else state

        return wait_for(f"the end of challenge {challenge_id} of {name}", probe, seconds)

    def _state(self, name: str, challenge_id: str) -> str:
        newest = self.node(name)["challenge"]
        return str(newest["state"]) if newest["id"] == challenge_id else "gone"


def bare_config(
    folder: Path,
    name: str,
    url: str,
    tcti: str,
    sink: tuple[str, Mapping[str, object]] | None = None,
    **sections: Mapping[str, object],
) -> Path:
    """Configuration of a node that has an enclave and no sensors; its keys go to `sink`, else into `keys.json`."""
    kind, options = sink or ("file", {"path": os.fspath(folder / "keys.json")})
    driver = driver_hashes(command("keyvigil"))["tpm2"]
    parts: dict[str, Mapping[str, object]] = {
        "node": {"name": name, "state_dir": os.fspath(folder / "state"), "authority": url},
        "connection": {"retry_min_s": 0.1, "retry_max_s": 0.5, "timeout_s": 10},
        "log": {"format": "json", "level": "debug"},
        "devices.enclave": {"driver": "tpm2", "sha256": driver},
        "devices.enclave.options": {"tcti": tcti},
        **sections,
    }
    lines = ["[[sinks]]", f"kind = {json.dumps(kind)}"]
    for title, values in {"sinks.options": options, **parts}.items():
        lines += [f"[{title}]", *(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in values.items())]
    file = folder / "agent.toml"
    file.write_text("\n".join(lines) + "\n")
    return file
