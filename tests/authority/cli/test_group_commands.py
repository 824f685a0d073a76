"""Challenge groups by command line and by their routes: who may make them, and what is refused with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.authority.cli.conftest import Run, Serving
from tests.authority.cli.test_commands import add_node


@pytest.fixture
def rack(serving: Serving) -> Serving:
    for name in ("desk", "rack-1", "rack-2"):
        add_node(serving, name, enclave_kind="tpm2")
    return serving


def groups(run: Run, serving: Serving) -> list[dict[str, object]]:
    return run("group", "list", *serving.options, "--json").value


def test_a_group_is_made_filled_listed_and_emptied(rack: Serving, run: Run) -> None:
    assert run("group", "create", "racks", "--sensor-node", "desk", *rack.options).status == 0
    for name in ("rack-2", "rack-1"):
        assert run("group", "add", "racks", "--node", name, *rack.options).status == 0
    assert groups(run, rack) == [{"name": "racks", "sensor_node": "desk", "members": ["rack-1", "rack-2"]}]
    words = run("group", "list", *rack.options).out
    assert "racks" in words and "desk" in words and "rack-1, rack-2" in words
    assert run("group", "remove", "racks", "--node", "rack-1", *rack.options).status == 0
    assert groups(run, rack)[0]["members"] == ["rack-2"]
    listed = run("audit", "list", *rack.options, "--json").value
    kinds = [each["kind"] for each in listed if each["kind"].startswith("group")]
    assert kinds == ["group", "group-member", "group-member", "group-member-removed"]


REFUSED = [
    (("create", "racks", "--sensor-node", "desk"), "already"),
    (("create", "more", "--sensor-node", "nobody"), "no node named"),
    (("create", "../x", "--sensor-node", "rack-2"), "name"),
    (("add", "none", "--node", "rack-2"), "no group"),
    (("add", "racks", "--node", "nobody"), "no node named"),
    (("add", "racks", "--node", "desk"), "sensor node"),
    (("add", "racks", "--node", "rack-1"), "in a group already"),
    (("remove", "racks", "--node", "rack-2"), "not in this group"),
]


def test_what_a_group_cannot_be_is_told_with_a_remedy(rack: Serving, run: Run) -> None:
    run("group", "create", "racks", "--sensor-node", "desk", *rack.options)
    run("group", "add", "racks", "--node", "rack-1", *rack.options)
    before = groups(run, rack)
    for command, said in REFUSED:
        ended = run("group", *command, *rack.options)
        assert ended.status == 1 and said in ended.err and "remedy" in ended.err, command
    assert run("group", "add", "racks", *rack.options).status == 2
    assert groups(run, rack) == before


def test_a_lab_node_is_no_sensor_node_of_a_production_rack(rack: Serving, run: Run) -> None:
    add_node(rack, "bench", lab=True, enclave_kind="tpm2")
    run("group", "create", "benches", "--sensor-node", "bench", *rack.options)
    ended = run("group", "add", "benches", "--node", "rack-1", *rack.options, "--json")
    assert ended.status == 1 and "lab node" in ended.value["error"]
    assert groups(run, rack)[0]["members"] == []


def test_who_only_reads_makes_no_group(rack: Serving, run: Run, tmp_path: Path) -> None:
    token = tmp_path / "reader"
    run("token", "create", "reader", "--scope", "read", "--out", token, *rack.options)
    reader = (*rack.options, "--token-file", token)
    assert run("group", "list", *reader).status == 0
    ended = run("group", "create", "racks", "--sensor-node", "desk", *reader)
    assert (ended.status, "lacks the scope" in ended.err) == (1, True)
    assert groups(run, rack) == []
