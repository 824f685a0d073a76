"""A node that begins to ask for two fingers: the old profile answers no more, a renewed one does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulators.lab.world import Node, World, wait_for
from tests.system.conftest import IMPOSTOR, PERSON, POLICY, QUICK, onboard
from tests.system.harness import Site, refused, secret_file

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

ENDS_S = 60.0
CHANGED = "made by another model"


@pytest.fixture(scope="module")
def changing(folder: Path) -> Iterator[Site]:
    """A site of one node whose administrator enrolled one finger and has answered."""
    (folder / "changing").mkdir()
    policy = POLICY.replace("activation_s = 12", "activation_s = 30")
    with World(folder / "changing", ["node-f"], policy, None, QUICK) as world:
        world.raise_authority()
        (node,) = world.nodes
        world.raise_station(node)
        made = Site(world)
        onboard(made, node)
        world.start_agent(node)
        wait_for("the first answer", lambda: made.node("node-f")["answered"] or None, 60, *world.children())
        yield made


def ask_for_two(site: Site, node: Node) -> None:
    """Both sides change their minds: the node's modality, and what the policy asks of an enrolment."""
    text = node.config.read_text()
    before, section, rest = text.partition("[modalities.fingerprint.options]\n")
    assert section
    node.config.write_text(f"{before}{section}fingers = 2\n{rest}")
    node.agent.stop()
    site.world.start_agent(node)
    wait_for("the agent's return", lambda: site.connections() == 1 or None, ENDS_S, node.agent)


def renew_options(site: Site, node: Node) -> list[str]:
    ticket, pin = site.ticket(node.admin, node.name)
    files = [secret_file(node.folder / f"renew.{name}", text) for name, text in (("ticket", ticket), ("pin", pin))]
    return ["--ticket-file", str(files[0]), "--pin-file", str(files[1]), "--accept-consent"]


def profiles(site: Site, node: Node) -> dict[str, Any]:
    return {each["record_id"]: each for each in site.node(node.name)["profiles"]}


def answer(site: Site, node: Node) -> str:
    """How a challenge ends; once more where it failed, since a busy machine may miss a deadline."""
    ends = (site.ended(node.name, site.challenge(node.name), ENDS_S) for _ in range(2))
    return next((end for end in ends if end == "accepted"), "failed twice")


def finger_model(site: Site, node: Node) -> dict[str, Any]:
    """Of the profile in force, as the authority has it."""
    (active,) = (each for each in profiles(site, node).values() if each["state"] == "active")
    return next(each for each in active["modalities"] if each["modality"] == "fingerprint")


def test_the_old_finger_counts_no_more_until_the_profile_is_renewed(changing: Site) -> None:
    site = changing
    (node,) = site.world.nodes
    (old,) = profiles(site, node)
    before = finger_model(site, node)
    node.send(PERSON)
    assert answer(site, node) == "accepted"
    assert CHANGED not in node.agent.log.read_text()

    ask_for_two(site, node)
    assert answer(site, node) == "accepted", "face and voice are enough"
    assert CHANGED in node.agent.log.read_text()

    renewed = node.call("profile", "renew", old, *renew_options(site, node))
    site.operator.post(f"/v1/profiles/{renewed['record_id']}/approve")
    assert profiles(site, node)[old]["state"] == "revoked"
    assert finger_model(site, node) != before
    told = node.agent.log.read_text().count(CHANGED)
    assert answer(site, node) == "accepted"
    assert node.agent.log.read_text().count(CHANGED) == told
    left = node.call("profile", "list")["profiles"]
    assert [each["record_id"] for each in left] == [renewed["record_id"]]


def test_another_person_with_two_fingers_of_their_own_is_refused(changing: Site) -> None:
    site = changing
    (node,) = site.world.nodes
    node.send(IMPOSTOR)
    assert site.ended(node.name, site.challenge(node.name), ENDS_S) == "failed"
    node.send(PERSON)
    assert answer(site, node) == "accepted"


def test_a_record_that_is_not_there_cannot_be_renewed(changing: Site) -> None:
    (node,) = changing.world.nodes
    options = renew_options(changing, node)
    gone = refused("keyvigil", "profile", "renew", "0" * 32, "--config", str(node.config), *options)
    assert "0" * 32 in gone.error
