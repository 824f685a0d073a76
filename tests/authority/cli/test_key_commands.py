"""`kek`, `fence`, `mapping`, and what was added to `key` and `network`: in words, in JSON, and when they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from authority.config import load_site
from authority.service import open_authority
from tests.authority.cli.conftest import Run, Serving
from tests.authority.cli.test_commands import add_node


@pytest.fixture
def office(serving: Serving, run: Run) -> Serving:
    for number in (1, 2):
        add_node(serving, f"n{number}", score=900)
    assert run("network", "create", "office", *serving.options).status == 0
    for number in (1, 2):
        place = ("--node", f"n{number}", "--address", f"10.0.0.{number}")
        assert run("network", "add", "office", *place, *serving.options).status == 0
    return serving


def test_a_version_is_staged_and_takes_force_and_what_lies_below_a_floor_is_destroyed(office: Serving, run: Run):
    assert run("key", "stage", "office", *office.options, "--json").value == {"network": "office", "version": 4}
    again = run("key", "stage", "office", *office.options)
    assert again.status == 1 and "staged already" in again.err and "key rotate" in again.err
    assert run("key", "rotate", "office", *office.options).status == 0
    assert run("network", "floor", "office", "--version", 4, *office.options).status == 0
    keys = run("key", "list", "--network", "office", *office.options, "--json").value[0]["keys"]
    assert [key["state"] for key in keys] == ["destroyed", "destroyed", "destroyed", "latest"]
    lower = run("network", "floor", "office", "--version", 3, *office.options, "--json")
    assert lower.status == 1 and "already" in lower.value["error"]


def test_where_no_shred_key_can_be_kept_there_is_no_new_version_and_the_log_says_why(
    office: Serving, run: Run, caplog: pytest.LogCaptureFixture
):
    before = run("key", "list", *office.options, "--json").value
    (office.state / "shreds").rename(office.state / "elsewhere")
    ended = run("key", "rotate", "office", *office.options)
    assert ended.status == 1 and "cannot use the keys" in ended.err and "remedy:" in ended.err
    assert str(office.state) not in ended.out + ended.err
    assert "a shred key cannot be written" in caplog.text
    (office.state / "elsewhere").rename(office.state / "shreds")
    assert run("key", "list", *office.options, "--json").value == before
    assert run("key", "rotate", "office", *office.options).status == 0


def test_a_member_is_taken_out(office: Serving, run: Run):
    assert run("network", "remove", "office", "--node", "n2", *office.options).status == 0
    assert [row["node"] for row in run("mapping", "list", *office.options, "--json").value] == ["n1"]
    assert run("network", "remove", "office", "--node", "n2", *office.options).status == 1


def endpoints(run: Run, office: Serving) -> set[str]:
    return {row["endpoint"] for row in run("mapping", "list", *office.options, "--json").value}


def test_the_mapping_is_asked_set_and_brought_elsewhere(office: Serving, run: Run, tmp_path: Path):
    found = run("mapping", "lookup", "office", "10.0.0.2", *office.options, "--json").value
    assert (found["node"], found["endpoint"]) == ("n2", "")
    assert run("mapping", "lookup", "office", "10.0.0.9", *office.options).status == 1
    place = ("--endpoint", "192.0.2.2", "--network", "office", "--class", "critical")
    assert run("mapping", "set", "n2", *place, *office.options).status == 0
    file = tmp_path / "mapping.json"
    assert run("mapping", "export", "--file", file, *office.options).status == 0
    assert json.loads(file.read_text()) == run("mapping", "export", *office.options).value
    file.write_text(file.read_text().replace("192.0.2.2", "192.0.2.3"))
    dry = run("mapping", "import", file, "--dry-run", *office.options, "--json").value
    assert [change["becomes"] for change in dry["changes"]] == [{"endpoint": "192.0.2.3"}]
    assert endpoints(run, office) == {"192.0.2.2", ""}
    assert run("mapping", "import", file, *office.options).status == 0
    assert endpoints(run, office) == {"192.0.2.3", ""}
    assert "n2" in run("mapping", "list", *office.options).out
    assert run("mapping", "import", file, *office.options, "--json").value["changes"] == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "keyvigil-mapping/1", "networks": [{"name": "?"}]}'])
def test_a_file_that_is_no_mapping_changes_nothing(office: Serving, run: Run, tmp_path: Path, content: str):
    before = run("mapping", "list", *office.options, "--json").value
    (tmp_path / "bad.json").write_text(content)
    ended = run("mapping", "import", tmp_path / "bad.json", *office.options)
    assert ended.status == 1 and "remedy:" in ended.err
    assert run("mapping", "list", *office.options, "--json").value == before


@pytest.mark.parametrize("arguments", [(), ("--network", "office"), ("--address", "10.0.0.7")])
def test_setting_half_a_place_is_refused(office: Serving, run: Run, arguments: tuple[str, ...]):
    assert run("mapping", "set", "n1", *arguments, *office.options).status == 1


@pytest.fixture
def state(run: Run, tmp_path: Path) -> Path:
    assert run("init", "--name", "localhost", "--state", tmp_path / "state").status == 0
    return tmp_path / "state"


def test_a_kek_s_life(run: Run, state: Path):
    [first] = run("kek", "show", "--state", state, "--json").value
    assert (first["kind"], first["current"]) == ("file", True)
    done = run("kek", "rotate", "--state", state, "--json").value
    assert done["from"] == first["kek_id"] and "whoever can read it" in done["warning"]
    refused = run("kek", "destroy", done["to"], "--state", state)
    assert refused.status == 1 and "kek rotate" in refused.err
    assert run("kek", "destroy", done["from"], "--state", state).status == 0
    assert [row["kek_id"] for row in run("kek", "show", "--state", state, "--json").value] == [done["to"]]
    assert not (state / "kek.key").exists()
    assert run("kek", "destroy", done["from"], "--state", state).status == 1
    key = next(state.glob("kek-*.key")).read_bytes()
    for command in (("kek", "show"), ("kek", "rotate")):
        ended = run(*command, "--state", state)
        assert key.hex() not in ended.out + ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "paper"), "paper"),
        (("--to", "credential"), "CREDENTIALS_DIRECTORY"),
        (("--to", "pkcs11"), "module"),
        (("--option", "colour=red"), "colour"),
        (("--option", "colour"), "NAME=VALUE"),
    ],
)
def test_a_kind_that_is_not_to_be_had_leaves_everything_as_it_was(
    run: Run, state: Path, arguments: tuple[str, ...], words: str
):
    before = run("kek", "show", "--state", state, "--json").value
    ended = run("kek", "rotate", *arguments, "--state", state)
    assert ended.status == 1 and words in ended.err and "remedy:" in ended.err
    assert run("kek", "show", "--state", state, "--json").value == before


def test_a_fence_begins_a_generation_that_lasts(run: Run, state: Path):
    assert run("fence", "--reason", "restored", "--state", state, "--json").value == {"generation": 2}
    authority = open_authority(load_site(state))
    assert authority.runtime.generation == 2
    authority.store.close()


def test_beside_a_running_authority_nothing_of_this_is_done(run: Run, state: Path):
    from authority.service import sole_use

    with sole_use(load_site(state)):
        for command in (("kek", "rotate"), ("kek", "destroy", "file:x"), ("fence",)):
            ended = run(*command, "--state", state)
            assert ended.status == 1 and "another authority" in ended.err
        assert run("kek", "show", "--state", state).status == 0
