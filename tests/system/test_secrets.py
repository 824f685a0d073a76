"""After a whole enrolment and an accepted challenge: no secret, and nothing biometric, lies or shows anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, Row, select

from agent.biometrics import Template
from agent.config import load_config
from agent.node import Node
from agent.profile import OpenProfile
from authority import approvals, releases
from authority.store import schema
from hal import Approval
from protocol.release import ReleasedShares
from protocol.tokens import parse_join_token, parse_ticket
from simulators.lab.world import wait_for
from tests.system.harness import Site
from tests.system.needles import DigitsNeedle, Needle, files_below, leaks
from tests.system.processes import Recorder

pytestmark = pytest.mark.system

HANDED_OVER = ("join.token", "ticket", "pin")
"""Files in which an operator handed secrets of `node-a` over, on purpose."""
SPARED = {*HANDED_OVER, "operator.token", "token", "tpm"}
"""Names of what holds secrets by right: such files, also other tests' copies of them, and the inside of the TPMs."""
PICTURES = {"a JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF", "a PNG": b"\x89PNG\r\n\x1a\n", "a WAV": b"WAVEfmt "}


@pytest.fixture(scope="module")
def answered(site: Site) -> Site:
    """A site in which a challenge was accepted just now."""
    assert site.ended("node-a", site.challenge("node-a"), 60) == "accepted"
    return site


@pytest.fixture(scope="module")
def released(answered: Site) -> tuple[ReleasedShares, Approval]:
    """What the authority gives out with the next challenge."""
    store, rt = answered.library()
    try:
        (profile,) = [each for each in answered.node("node-a")["profiles"] if each["state"] == "active"]
        wanted = schema.profile.c.record_id == profile["record_id"]
        row = store.run(lambda conn: conn.execute(select(schema.profile).where(wanted)).one())
        share = releases.open_present(rt, row)
        wired = store.run(lambda conn: approvals.approval(rt, _row_of_node(conn, row.node_id)))
        assert not isinstance(wired, msgspec.UnsetType)
        approval = Approval(wired.policy, wired.signature, tuple(wired.selection), wired.version)
        return ReleasedShares(number=row.share_number, present=share), approval
    finally:
        store.close()


def _row_of_node(conn: Connection, node_id: str) -> Row[Any]:
    return conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one()


@pytest.fixture(scope="module")
def unsealed(answered: Site, released: tuple[ReleasedShares, Approval]) -> OpenProfile:
    """The sealed profile, opened with the node's own TPM and the authority's share, as for a presentation."""
    (lab_node,) = answered.world.nodes
    node = Node.of(load_config(lab_node.config))
    (profile,) = [each for each in answered.node("node-a")["profiles"] if each["state"] == "active"]
    node_id, record_id = answered.node("node-a")["id"], profile["record_id"]
    return node.gate.run(lambda enclave: node.vault.open(enclave, node_id, record_id, *released))


@pytest.fixture(scope="module")
def needles(answered: Site, released: tuple[ReleasedShares, Approval], unsealed: OpenProfile) -> list[Needle]:
    """Every secret of this site that must not be found."""
    folder = answered.world.nodes[0].folder
    token, ticket, pin = ((folder / name).read_text().strip() for name in HANDED_OVER)
    operator = (answered.authority.state / "operator.token").read_text().strip()
    secrets = unsealed.versions[0].secrets
    found = [
        Needle.of_text("the join token", token),
        Needle.of_bytes("the join token's secret", parse_join_token(token).secret),
        Needle.of_text("the ticket", ticket),
        Needle.of_bytes("the ticket's secret", parse_ticket(ticket).secret),
        DigitsNeedle("the PIN", [pin.encode()]),
        Needle.of_text("the operator's token", operator),
        Needle.of_bytes("the release share", released[0].present),
        Needle.of_bytes("the masked authorisation of the profile key", secrets.masked_auth),
        *[Needle.of_bytes(f"helper data of the {name}", one.helper) for name, one in secrets.shares.bound.items()],
        *[
            Needle.of_bytes(f"the wrapped share of the {name}", one.wrapped_x)
            for name, one in secrets.shares.bound.items()
        ],
    ]
    for name, data in unsealed.templates.items():
        vectors = Template.from_bytes(data).vectors
        found += [Needle.of_vector(f"{name} {number}", each.tobytes()) for number, each in enumerate(vectors)]
    return found


def test_the_profile_holds_all_three_modalities(unsealed: OpenProfile) -> None:
    assert sorted(unsealed.templates) == ["fingerprint"]
    assert sorted(unsealed.sides) == ["face", "voice"]


def test_no_secret_lies_in_any_file(answered: Site, needles: list[Needle]) -> None:
    """Logs, database with its journal, node state, alerts: every file of the site."""
    places = [path for path, _ in files_below(answered.world.folder, SPARED)]
    wanted = {"authority.db", "agent.log", "authority.log", "enroll.log", "join.log", "alerts.log", "identity.json"}
    assert wanted <= {path.name for path in places}
    assert any(path.suffix == ".record" for path in places)
    assert leaks(needles, files_below(answered.world.folder, SPARED)) == []


def test_no_secret_is_in_what_operators_see(answered: Site, needles: list[Needle]) -> None:
    paths = ("nodes", "nodes/node-a", "profiles", "networks", "policy")
    seen = [(path, json.dumps(answered.operator.get(f"/v1/{path}")).encode()) for path in paths]
    for what, key in (("audit", "seq"), ("alerts", "id")):
        seen.append((what, json.dumps(answered.all(what, key, 0)).encode()))
    assert all(len(data) > 2 for _, data in seen)
    assert leaks(needles, iter(seen)) == []


def test_no_secret_is_in_the_arguments_of_any_process(
    answered: Site, needles: list[Needle], recorder: Recorder
) -> None:
    arguments = recorder.arguments()
    assert all(name in arguments for name in ("keyvigil enroll", "keyvigil join", "keyvigil agent run", "hook.py"))
    assert leaks(needles, iter([("ps", arguments.encode())])) == []


def test_no_picture_and_no_sound_is_kept(answered: Site) -> None:
    forms = [Needle(name, [magic]) for name, magic in PICTURES.items()]
    assert leaks(forms, files_below(answered.world.folder)) == []


@pytest.mark.parametrize("form", range(9))
def test_the_scanner_finds_what_was_planted(tmp_path: Path, needles: list[Needle], form: int) -> None:
    """The control: each needle is found in each form that it is looked for in."""
    lines = [needle.forms[form % len(needle.forms)] for needle in needles]
    (tmp_path / "log").write_bytes(b"before" + b"\n".join(lines))
    found = leaks(needles, files_below(tmp_path))
    assert {line.rpartition(" in ")[0] for line in found} == {needle.name for needle in needles}


def test_the_scanner_finds_the_secrets_where_they_were_handed_over(answered: Site, needles: list[Needle]) -> None:
    found = leaks(needles, files_below(answered.world.folder, {"tpm"}))
    files = {line.rpartition("/")[2] for line in found}
    assert {*HANDED_OVER, "operator.token"} <= files <= SPARED


def test_the_recorder_sees_what_a_process_was_told(recorder: Recorder) -> None:
    marker = os.urandom(16).hex()
    with (
        subprocess.Popen([sys.executable, "-c", "input()", marker], stdin=subprocess.PIPE) as child,
        closing(child.stdin or sys.stdin),
    ):
        wait_for("the marker", lambda: marker in recorder.arguments() or None, 10)
    needle = Needle.of_text("marker", marker)
    assert leaks([needle], iter([("ps", recorder.arguments().encode())])) == ["marker in ps"]
