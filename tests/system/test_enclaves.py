"""Nodes without a TPM as whole processes: one with a software enclave, one with a token, capped by their kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hal import available_drivers
from simulators.devices.softhsm import SoftHsm
from simulators.lab.processes import command, run
from simulators.lab.world import Node, World, wait_for
from tests.system.conftest import PERSON, POLICY, QUICK
from tests.system.harness import Site, refused

pytestmark = [pytest.mark.system, pytest.mark.slow]

MIXED_POLICY = POLICY.replace("activation_s = 12", "activation_s = 40").replace(
    "[challenge]", "[recency]\nprior_weight = 0.5\n[caps]\npkcs11_enclave = 750\n[challenge]"
)
ALLOWED = '[enclaves]\nallowed = ["tpm2", "pkcs11", "software"]\n'
CAPS = {"node-s": ("software", 800), "node-p": ("pkcs11", 750)}
MOST_ANSWERS = 6


@pytest.fixture(scope="module")
def mixed(folder: Path) -> Iterator[tuple[Site, dict[str, Node]]]:
    """A site that lets every kind in, and two nodes that have not joined yet: `node-s` and `node-p`."""
    if not shutil.which("softhsm2-util"):
        pytest.skip("no software token: apt-get install softhsm2")
    (folder / "mixed").mkdir()
    with (
        SoftHsm(folder / "mixed" / "token", "node-p") as token,
        World(folder / "mixed" / "world", ["node-s", "node-p"], MIXED_POLICY + ALLOWED, None, QUICK) as world,
    ):
        world.raise_authority()
        nodes = {node.name: node for node in world.nodes}
        for node in world.nodes:
            world.raise_station(node)
        configure(nodes["node-s"], "software", f'folder = "{nodes["node-s"].folder / "enclave"}"\n')
        configure(
            nodes["node-p"],
            "pkcs11",
            f'module = "{token.module}"\ntoken = "{token.label}"\npin_file = "{token.pin_file}"\n'
            f'environment = {{ SOFTHSM2_CONF = "{token.environment()["SOFTHSM2_CONF"]}" }}\n',
        )
        yield Site(world), nodes


def configure(node: Node, driver: str, options: str) -> None:
    """Put another enclave into the agent's configuration, where the lab put a TPM."""
    before, _, rest = node.config.read_text().partition("[devices.enclave]")
    sinks = rest[rest.index("[[sinks]]") :]
    section = f'[devices.enclave]\ndriver = "{driver}"\nsha256 = "{available_drivers()[driver].sha256}"\n'
    node.config.write_text(f"{before}{section}[devices.enclave.options]\n{options}\n{sinks}")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["node-s", "node-p"])
def test_a_node_without_a_tpm_works_up_to_its_cap(mixed: tuple[Site, dict[str, Node]], name: str):
    site, nodes = mixed
    node, (kind, cap) = nodes[name], CAPS[name]
    site.world.join(node)
    site.world.enrol(node, PERSON)
    site.world.start_agent(node)
    wait_for(f"the connection of {name}", lambda: site.node(name)["last_seen_at"], 30)
    explanations = []
    for _ in range(MOST_ANSWERS):
        assert site.ended(name, site.challenge(name), 60) == "accepted"
        seen = site.node(name)
        explanations.append(seen["explanation"])
        assert seen["score"] <= cap and seen["tier"] == "medium"
        if seen["score"] == cap:
            break
    assert explanations[-1].endswith(f"capped at {cap / 1000:.2f}: {kind} enclave, which attests to nothing")
    assert (site.node(name)["enclave"], site.node(name)["enclave_cap"]) == (kind, cap)
    wait_for("keys in its sink", lambda: node.keys.exists() or None, 30)
    listed = {each["name"]: each["enclave"] for each in site.authority.call("node", "list")}
    assert listed[name] == kind
    shown = run([command("keyvigil-authority"), "node", "show", name, "--state", str(site.authority.state)])
    assert f"{kind} (at most {cap / 1000:.2f})" in shown


def test_its_enclave_cannot_be_exchanged_for_another_kind(mixed: tuple[Site, dict[str, Node]]):
    """By the agent, which joined with another; and by the authority, where the name stays with its enclave."""
    site, nodes = mixed
    node = nodes["node-s"]
    if not (node.folder / "state" / "identity.json").exists():
        site.world.join(node)
    node.agent.stop()
    kept = node.config.read_text()
    try:
        other = json.dumps(str(node.folder / "another-enclave"))
        configure(node, "software", f"folder = {other}\n")
        token = node.folder / "again.token"
        token.write_text(site.token(node.name))
        token.chmod(0o600)
        options = ["--config", str(node.config), "--token-file", str(token), "--rejoin", "--json"]
        refusal = refused("keyvigil", "join", *options, env=node.environment())
        assert "belongs to another enclave" in refusal.error
    finally:
        node.config.write_text(kept)
