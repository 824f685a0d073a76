"""The life of profiles by their commands, as whole processes: consent, two administrators, a changed model, the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulators.lab.world import Node, World, wait_for
from tests.system.conftest import IMPOSTOR, PERSON, POLICY, QUICK
from tests.system.harness import Site, refused, secret_file

pytestmark = [pytest.mark.system, pytest.mark.slow]
NAME, FIRST, SECOND = "node-q", "admin-0", "bob"
PATIENCE = {"enrolment": {"capture_timeout_s": 120}}
PATIENT = POLICY.replace("activation_s = 12", "activation_s = 60")


@pytest.fixture(scope="module")
def desk(folder: Path) -> Iterator[tuple[Site, Node]]:
    """A joined node whose agent runs, with nobody enrolled."""
    (folder / "profiles").mkdir()
    with World(folder / "profiles", [NAME], PATIENT, None, QUICK | PATIENCE) as world:
        world.raise_authority()
        (node,) = world.nodes
        world.raise_station(node)
        world.join(node)
        world.start_agent(node)
        yield Site(world), node


def secrets(site: Site, node: Node, admin: str) -> list[str]:
    ticket, pin = site.ticket(admin, node.name)
    ticket_file, pin_file = (node.folder / f"{admin}.{name}" for name in ("ticket", "pin"))
    for path in (ticket_file, pin_file):
        path.unlink(missing_ok=True)
    return [
        "--ticket-file",
        str(secret_file(ticket_file, ticket)),
        "--pin-file",
        str(secret_file(pin_file, pin)),
    ]


def enrol(site: Site, node: Node, admin: str, person: str) -> str:
    node.send(person)
    made = node.call("enroll", "--admin", admin, "--accept-consent", *secrets(site, node, admin), timeout=180)
    site.authority.call("admin", "approve", made["record_id"])
    return str(made["record_id"])


def profiles(node: Node) -> dict[str, Any]:
    return {each["record_id"]: each for each in node.call("profile", "list")["profiles"]}


def states(site: Site) -> dict[str, str]:
    return {each["record_id"]: each["state"] for each in site.authority.call("admin", "list")}


def gone(node: Node, record: str) -> None:
    wait_for(f"the removal of {record}", lambda: record not in profiles(node) or None, 60, node.agent)


@pytest.mark.timeout(1200)
def test_profiles_from_consent_to_erasure(desk: tuple[Site, Node]) -> None:
    site, node = desk
    options = ["--config", str(node.config), "--admin", FIRST, *secrets(site, node, FIRST)]
    said = refused("keyvigil", "enroll", *options, env=node.environment(), timeout=180)
    assert "consent" in said.error and "--accept-consent" in said.remedy
    assert profiles(node) == {}

    first, second = enrol(site, node, FIRST, PERSON), enrol(site, node, SECOND, IMPOSTOR)
    assert {each["admin"] for each in profiles(node).values()} == {FIRST, SECOND}
    node.send(PERSON)
    assert site.ended(NAME, site.challenge(NAME), 120) == "accepted"

    node.agent.stop()
    node.config.write_text(
        node.config.read_text().replace(
            "[modalities.fingerprint.options]", '[modalities.fingerprint.options]\nextractor = "fast"'
        )
    )
    options = ["--accept-consent", *secrets(site, node, FIRST)]
    renewed = str(node.call("profile", "renew", first, *options, timeout=180)["record_id"])
    site.world.start_agent(node)
    assert states(site) == {first: "active", second: "active", renewed: "pending"}
    site.authority.call("admin", "approve", renewed)
    gone(node, first)
    assert states(site) == {first: "revoked", second: "active", renewed: "active"}
    models = {model["modality"]: model["model"] for model in profile_at(site, renewed)["modalities"]}
    assert models["fingerprint"].startswith("mindtct")
    assert site.ended(NAME, site.challenge(NAME), 120) == "accepted"

    site.authority.call("admin", "erase", second)
    gone(node, second)
    told = node.call("profile", "erase", renewed)
    assert (told["erased"], told["left"]) == (True, [])
    assert profiles(node) == {} and set(states(site).values()) == {"revoked", "erased"}
    with pytest.raises(Exception, match="nobody who is enrolled"):
        site.challenge(NAME)


def profile_at(site: Site, record: str) -> dict[str, Any]:
    return next(each for each in site.authority.call("admin", "list") if each["record_id"] == record)
