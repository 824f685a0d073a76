"""Signals by command line: a tap's token, EVE files, what an operator finds, and the policy read anew."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from authority.store import schema
from tests.authority.cli.conftest import Run, Serving
from tests.authority.cli.test_commands import add_node
from tests.authority.eve.test_eve import RECORDED


@pytest.fixture
def tap(serving: Serving, run: Run, tmp_path: Path) -> Path:
    token = tmp_path / "tap.token"
    ended = run("token", "create", "tap-1", "--scope", "signal", "--out", token, *serving.options)
    assert ended.status == 0
    assert token.read_text().strip() not in ended.out
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    return token


def eve_lines(*indices: int) -> str:
    """Recorded lines as of a few seconds ago."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000+0000", time.gmtime(time.time() - 5))
    return "".join(json.dumps(json.loads(RECORDED[each]) | {"timestamp": now}) + "\n" for each in indices)


def score(serving: Serving, name: str) -> int:
    node = schema.node
    wanted = select(node.c.score).where(node.c.name == name)
    return serving.authority.store.run(lambda conn: conn.scalar(wanted))


def settle(serving: Serving, name: str = "c") -> str:
    """A node with a history and an address."""
    node_id = add_node(serving, name, enclave_kind="tpm2", ownership="taken")
    now = time.time()

    def make(conn: object) -> None:
        for number in range(6):
            values = {"challenge_id": f"{name}{number}", "at": now - 60 * (6 - number), "kind": "accepted"}
            conn.execute(schema.presentation.insert().values(node_id=node_id, speed=1000, quality=1000, **values))
        conn.execute(schema.network.insert().values(name="core", created_at=now))
        member = {"network": "core", "node_id": node_id, "address": "10.7.0.3", "resource_class": "normal"}
        conn.execute(schema.member.insert().values(**member))

    serving.authority.store.run(make)
    return node_id


def test_a_tap_s_token_sends_signals_and_nothing_else(serving: Serving, run: Run, tap: Path) -> None:
    settle(serving)
    mine = ("--token-file", tap, *serving.options)
    send = ("signals", "send", "--node", "c", "--kind", "flood", "--severity", "high")
    assert run(*send, *mine, "--json").value["outcome"] == "recorded"
    assert run("node", "ban", "c", *mine).status == 1
    assert "lacks the scope" in run("signals", "list", *mine).err
    assert run(*send, *serving.options).status == 0
    listed = run("signals", "list", "--node", "c", *serving.options, "--json").value
    assert [(each["kind"], each["reporter"]) for each in listed] == [("flood", "first-operator"), ("flood", "tap-1")]
    assert score(serving, "c") < 870


def test_a_revoked_token_does_nothing_more(serving: Serving, run: Run, tap: Path) -> None:
    send = ("signals", "send", "--node", "c", "--kind", "flood", "--severity", "low", "--token-file", tap)
    assert run("token", "revoke", "tap-1", *serving.options).status == 0
    ended = run(*send, *serving.options)
    assert ended.status != 0
    assert "no valid operator token" in ended.err
    assert run("token", "revoke", "tap-1", *serving.options).status != 0
    assert "their own" in run("token", "revoke", "first-operator", *serving.options).err


def test_a_token_without_the_scope_sends_none(serving: Serving, run: Run, tmp_path: Path) -> None:
    settle(serving)
    token = tmp_path / "reader.token"
    assert run("token", "create", "reader", "--scope", "read", "--out", token, *serving.options).status == 0
    send = ("signals", "send", "--node", "c", "--kind", "flood", "--severity", "high", "--token-file", token)
    ended = run(*send, *serving.options)
    assert (ended.status, "lacks the scope signal" in ended.err) == (1, True)


def test_two_taps_do_not_share_a_name(serving: Serving, run: Run, tap: Path, tmp_path: Path) -> None:
    again = run("token", "create", "tap-1", "--scope", "signal", "--out", tmp_path / "two", *serving.options)
    assert again.status == 1
    assert not (tmp_path / "two").exists()


def test_an_eve_file_is_sent_and_gone_on_with(serving: Serving, run: Run, tap: Path, tmp_path: Path) -> None:
    settle(serving)
    file, kept = tmp_path / "eve.json", tmp_path / "position"
    file.write_text(eve_lines(0, 1, 2, 0) + "nonsense\n" + eve_lines(4))
    command = ("signals", "eve", file, "--position", kept, "--token-file", tap, *serving.options, "--json")
    first = run(*command)
    assert first.status == 0
    assert first.value == {"lines": 6, "sent": 2, "repeated": 1, "unknown_node": 1, "refused": 0, "unreadable": 1}
    assert "line 5 was passed over" in first.err
    assert score(serving, "c") < 870
    assert run(*command).value["lines"] == 0
    with file.open("a") as more:
        more.write(eve_lines(2))
    assert run(*command).value["lines"] == 1


def test_a_table_maps_addresses_to_nodes(serving: Serving, run: Run, tap: Path, tmp_path: Path) -> None:
    settle(serving)
    (tmp_path / "eve.json").write_text(eve_lines(4))
    (tmp_path / "nodes.toml").write_text('"fd00:7::4" = "c"\n')
    command = ("signals", "eve", tmp_path / "eve.json", "--token-file", tap, *serving.options, "--json")
    assert run(*command).value["unknown_node"] == 1
    assert run(*command, "--nodes", tmp_path / "nodes.toml").value["sent"] == 1


@pytest.mark.parametrize("content", ["[[[", '"10.0.0.1" = 3'])
def test_a_table_that_cannot_be_read_is_named(
    serving: Serving, run: Run, tap: Path, tmp_path: Path, content: str
) -> None:
    (tmp_path / "nodes.toml").write_text(content)
    ended = run("signals", "eve", "-", "--nodes", tmp_path / "nodes.toml", "--token-file", tap, *serving.options)
    assert ended.status == 1
    assert "nodes.toml" in ended.err and "remedy" in ended.err


def test_a_missing_file_is_an_error(serving: Serving, run: Run, tap: Path, tmp_path: Path) -> None:
    ended = run("signals", "eve", tmp_path / "none", "--token-file", tap, *serving.options)
    assert (ended.status, "does not exist" in ended.err) == (1, True)


def test_a_critical_signature_confirms_hostility_and_an_operator_absolves(
    serving: Serving, run: Run, tap: Path, tmp_path: Path
) -> None:
    settle(serving)
    (tmp_path / "eve.json").write_text(eve_lines(2))
    sent = ("signals", "eve", tmp_path / "eve.json", "--critical", 2018358, "--token-file", tap, *serving.options)
    assert run(*sent).status == 0
    assert score(serving, "c") == 500
    assert run("node", "absolve", "c", "--reason", "a test", *serving.options).status == 0
    assert score(serving, "c") > 800
    assert run("node", "hostile", "c", "--reason", "it was none", *serving.options).status == 0
    assert score(serving, "c") == 500
    assert run("node", "hostile", "c", *serving.options).status == 2


def test_a_policy_is_read_anew_and_every_standing_follows(serving: Serving, run: Run) -> None:
    settle(serving)
    file = serving.state / "policy.toml"
    before = run("policy", "show", *serving.options, "--json").value
    file.write_text('version = "stricter-2"\n[caps]\nstale_medium_s = 3600\nattestation_overdue = 700\n')
    done = run("policy", "reload", *serving.options, "--json").value
    shown = run("policy", "show", *serving.options, "--json").value
    assert (shown["version"], shown["sha256"]) == (done["version"], done["sha256"])
    assert before["sha256"] != shown["sha256"]
    kinds = [
        each["data"] for each in run("audit", "list", *serving.options, "--json").value if each["kind"] == "policy"
    ]
    assert kinds[-1]["policy"] == done


def test_a_policy_that_cannot_be_used_leaves_the_old_one(serving: Serving, run: Run) -> None:
    file = serving.state / "policy.toml"
    before = run("policy", "show", *serving.options, "--json").value
    for text, said in (("version = 3", "version"), ('version = "x"\n[caps]\nhostile = 600\n', "caps.hostile = 600")):
        file.write_text(text)
        ended = run("policy", "reload", *serving.options)
        assert (ended.status, said in ended.err) == (1, True)
    assert run("policy", "show", *serving.options, "--json").value == before


def test_a_label_is_not_used_for_two_policies(serving: Serving, run: Run) -> None:
    file = serving.state / "policy.toml"
    file.write_text('version = "winter"\n')
    assert run("policy", "reload", *serving.options).status == 0
    file.write_text('version = "winter"\n[caps]\nhostile = 400\n')
    ended = run("policy", "reload", *serving.options)
    assert (ended.status, "winter" in ended.err) == (1, True)
