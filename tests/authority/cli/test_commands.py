"""Commands against an operator plane: what they print, in words and in JSON, and how they fail."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import click
import pytest
from sqlalchemy import select, update

from authority.cli import cli
from authority.operators import create_operator_token
from authority.roles import Scope
from authority.store import schema
from protocol.codec import encode, length_prefixed
from protocol.ownership import OwnerValues
from protocol.tokens import parse_join_token
from tests.authority.cli.conftest import Run, Serving


def add_node(serving: Serving, name: str = "n1", **values: Any) -> str:
    """A node that joined long ago; gives its id."""
    row = {
        "id": name.encode().hex().ljust(64, "0"),
        "name": name,
        "state": "active",
        "lab": False,
        "ek_public": b"",
        "ak_public": b"",
        "delivery_public": b"",
        "certificate_sha256": "",
        "certificate_not_after": 0.0,
        "reference_pcrs": "{}",
        "devices": "[]",
        "joined_at": 0.0,
        **values,
    }
    serving.authority.store.run(lambda conn: conn.execute(schema.node.insert().values(**row)) and None)
    return str(row["id"])


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command, here = group.get_command(context, name), (*path, name)
        assert command is not None
        found += every_command(command, here) if isinstance(command, click.Group) else [(here, command)]
    return found


COMMANDS = every_command(cli)


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=" ".join)
def test_every_command_helps_and_speaks_json(run: Run, path: tuple[str, ...]):
    ended = run(*path, "--help")
    assert ended.status == 0
    assert "--json" in ended.out and "Usage" in ended.out


def test_every_command_of_the_requirement_is_there():
    wanted = {"init", "serve", "node token", "node list", "node show", "node challenge", "node isolate", "node release"}
    wanted |= {"node ban", "admin ticket", "admin list", "admin approve", "admin revoke", "network create"}
    wanted |= {"network add", "network list", "key list", "key rotate", "alert list", "audit list", "policy show"}
    assert wanted <= {" ".join(path) for path, _ in COMMANDS}


def test_no_command_has_two_options_of_one_name():
    for path, command in COMMANDS:
        names = [name for parameter in command.params for name in parameter.opts]
        assert len(names) == len(set(names)), path


def test_an_unknown_command_is_wrong_usage(run: Run):
    for arguments in (("no-such",), ("node", "no-such"), ("node", "list", "--no-such"), ()):
        assert run(*arguments).status == 2
    ended = run("node", "no-such", "--json")
    assert "no-such" in ended.value["error"]


READING = [("node", "list"), ("admin", "list"), ("network", "list"), ("key", "list"), ("alert", "list")]
READING += [("audit", "list"), ("policy", "show"), ("admin", "list", "--profile-state", "pending")]


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_what_is_read_is_shown_both_ways(serving: Serving, run: Run, command: tuple[str, ...]):
    words, value = run(*command, *serving.options), run(*command, *serving.options, "--json")
    assert (words.status, value.status) == (0, 0)
    assert words.out and isinstance(value.value, list | dict)


def test_a_network_s_life(serving: Serving, run: Run):
    add_node(serving)
    assert run("network", "create", "office", *serving.options, "--json").value == {"ok": True}
    add = ("network", "add", "office", "--node", "n1", "--address", "10.0.0.1", "--class", "critical")
    assert run(*add, *serving.options).status == 0
    before = run("key", "list", "--network", "office", *serving.options, "--json").value[0]["keys"]
    assert run("key", "rotate", "office", *serving.options).status == 0
    after = run("key", "list", "--network", "office", *serving.options, "--json").value[0]["keys"]
    assert [key["state"] for key in before] == ["outdated", "previous", "latest"]
    assert [key["state"] for key in after] == ["destroyed", "outdated", "previous", "latest"]
    assert "10.0.0.1" in run("network", "list", *serving.options).out
    assert run("key", "list", "--network", "other", *serving.options).status == 1
    again = run("network", "create", "office", *serving.options)
    assert again.status == 1 and "already" in again.err


@pytest.mark.parametrize(("verb", "state"), [("isolate", "isolated"), ("ban", "banned")])
def test_a_node_is_cut_off_and_let_in_again(serving: Serving, run: Run, verb: str, state: str):
    add_node(serving)
    assert run("node", verb, "n1", "--reason", "lost", *serving.options).status == 0
    shown = run("node", "show", "n1", *serving.options, "--json").value
    assert (shown["state"], shown["access"], shown["reason"]) == (state, "isolated", "lost")
    assert run("node", "release", "n1", *serving.options).status == 0
    assert run("node", "show", "n1", *serving.options, "--json").value["state"] != state


def test_a_challenge_that_nobody_could_answer_is_refused(serving: Serving, run: Run):
    add_node(serving)
    ended = run("node", "challenge", "n1", *serving.options)
    assert ended.status == 1 and "nobody who is enrolled" in ended.err and "remedy:" in ended.err


@pytest.mark.parametrize("name", ["n9", "../n1", "n1/isolate", "n1?x=1", "n1#x", "n 1", "%2e%2e", "n1%2Fisolate"])
def test_a_name_is_a_name_and_not_a_path(serving: Serving, run: Run, name: str):
    node_id = add_node(serving)
    for verb in ("show", "ban"):
        ended = run("node", verb, name, *serving.options)
        assert ended.status == 1 and ended.err.startswith("error:")
    row = schema.node
    state = serving.authority.store.run(lambda conn: conn.scalar(select(row.c.state).where(row.c.id == node_id)))
    assert state == "active"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_no_name_is_refused_here(serving: Serving, run: Run, name: str):
    ended = run("node", "ban", name, *serving.options)
    assert ended.status == 1 and "is not a name" in ended.err


def test_a_join_token_is_printed_or_written_to_a_private_file(serving: Serving, run: Run, tmp_path: Path):
    printed = run("node", "token", "--name", "n1", *serving.options)
    assert parse_join_token(printed.out).ca_sha256 == serving.authority.ca.ca_sha256
    file = tmp_path / "token"
    before = os.umask(0)
    try:
        written = run("node", "token", "--name", "n1", "--out", file, *serving.options, "--json")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert parse_join_token(file.read_text())
    assert file.read_text().strip() not in written.out + written.err
    assert written.value["file"] == str(file)


def test_ticket_and_pin_go_into_two_private_files(serving: Serving, run: Run, tmp_path: Path):
    add_node(serving)
    ticket, pin = tmp_path / "ticket", tmp_path / "pin"
    make = ("admin", "ticket", "--admin", "ada", "--node", "n1", *serving.options)
    ended = run(*make, "--out", ticket, "--pin-out", pin)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (ticket, pin)} == {0o600}
    assert ticket.read_text().startswith("kvt1.") and len(pin.read_text().strip()) == 8
    assert ticket.read_text().strip() not in ended.out and pin.read_text().strip() not in ended.out
    printed = run(*make, "--json").value
    assert set(printed) >= {"ticket", "pin"}


def test_a_tpm_s_values_go_into_a_private_file_by_the_highest_scope_alone(serving: Serving, run: Run, tmp_path: Path):
    node_id, rt = add_node(serving), serving.authority.runtime
    values = OwnerValues(owner=b"\x01" * 32, lockout=b"\x02" * 32)
    wrapped = rt.kek.wrap(encode(values), length_prefixed("keyvigil/tpm-owner/1", node_id))
    ask = ("node", "tpm-auth", "n1", "--out", tmp_path / "values")
    assert "holds no authorisation values" in run(*ask, *serving.options).err
    assert not (tmp_path / "values").exists()
    row = {"node_id": node_id, "wrapped": wrapped, "drawn_at": 1.0}
    serving.authority.store.run(lambda conn: conn.execute(schema.tpm_owner.insert().values(**row)))
    scopes = [scope for scope in Scope if scope is not Scope.ADMIN]
    token = serving.authority.store.run(lambda conn: create_operator_token(conn, rt, "others", scopes, 60))
    (tmp_path / "token").write_text(token)
    assert run(*ask, *serving.options, "--token-file", tmp_path / "token").status == 1
    assert not (tmp_path / "values").exists()
    ended = run(*ask, *serving.options)
    assert stat.S_IMODE((tmp_path / "values").stat().st_mode) == 0o600
    assert json.loads((tmp_path / "values").read_text()) == {"owner": "01" * 32, "lockout": "02" * 32}
    assert ended.status == 0 and "01" * 32 not in ended.out + ended.err
    kinds = serving.authority.store.run(lambda conn: [*conn.scalars(select(schema.audit.c.kind))])
    assert kinds.count("tpm-auth-released") == 1


def test_retiring_tells_how_the_tpm_is_given_back(serving: Serving, run: Run):
    add_node(serving)
    assert "node tpm-auth" in run("node", "retire", "n1", *serving.options).out


def tokens(serving: Serving) -> int:
    return len(serving.authority.store.run(lambda conn: conn.execute(select(schema.join_token)).all()))


def test_a_secret_is_not_made_for_a_file_that_cannot_be(serving: Serving, run: Run, tmp_path: Path):
    (tmp_path / "there").write_text("precious")
    for file, named in ((tmp_path / "there", "exists"), (tmp_path / "no" / "folder", "cannot make")):
        ended = run("node", "token", "--name", "n1", "--out", file, *serving.options)
        assert ended.status == 1 and named in ended.err
    assert (tmp_path / "there").read_text() == "precious"
    assert tokens(serving) == 0


def test_a_refusal_leaves_no_empty_secret_behind(serving: Serving, run: Run, tmp_path: Path):
    ended = run("node", "token", "--name", "No Name", "--out", tmp_path / "token", *serving.options)
    assert ended.status == 1 and "name has" in ended.err
    assert not (tmp_path / "token").exists()


def test_errors_are_json_where_json_was_asked_for(serving: Serving, run: Run):
    ended = run("node", "show", "n9", *serving.options, "--json")
    assert ended.status == 1
    assert set(ended.value) == {"error", "remedy"} and "n9" in ended.value["error"]
    assert "error:" in ended.err


# --- who is spoken to, and with what


def test_a_token_without_the_scope_is_refused(serving: Serving, run: Run, tmp_path: Path):
    rt = serving.authority.runtime
    token = serving.authority.store.run(lambda conn: create_operator_token(conn, rt, "reader", [Scope.READ], 60))
    (tmp_path / "reader").write_text(token)
    add_node(serving)
    reader = (*serving.options, "--token-file", tmp_path / "reader")
    assert run("node", "list", *reader).status == 0
    ended = run("node", "ban", "n1", *reader)
    assert ended.status == 1 and "lacks the scope" in ended.err


def test_an_expired_token_is_refused(serving: Serving, run: Run):
    serving.authority.store.run(
        lambda conn: conn.execute(update(schema.operator_token).values(expires_at=0.0)) and None
    )
    ended = run("node", "list", *serving.options)
    assert ended.status == 1 and "no valid operator token" in ended.err


SECRET = "kvo1.secret-that-nobody-may-see"


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", SECRET.encode() + b"\nsecond line", SECRET.encode() + b"\x00", b"a b"]
)
def test_a_file_without_a_token_is_named_and_not_repeated(serving: Serving, run: Run, tmp_path: Path, content: bytes):
    (tmp_path / "token").write_bytes(content)
    ended = run("node", "list", *serving.options, "--token-file", tmp_path / "token")
    assert ended.status == 1 and "holds no operator token" in ended.err
    assert "secret" not in ended.err + ended.out


def test_missing_files_are_named(serving: Serving, run: Run, tmp_path: Path):
    for option in ("--token-file", "--ca-file"):
        ended = run("node", "list", *serving.options, option, tmp_path / "missing")
        assert ended.status == 1 and "missing" in ended.err and "remedy:" in ended.err
    (tmp_path / "garbage").write_text("no certificate")
    ended = run("node", "list", *serving.options, "--ca-file", tmp_path / "garbage")
    assert ended.status == 1 and "garbage" in ended.err


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "127.0.0.1:1", "https://", "https://a b", "https://u@h", "ftp://h", ""]
)
def test_the_token_goes_over_tls_or_nowhere(serving: Serving, run: Run, url: str):
    ended = run("node", "list", "--state", serving.state, "--url", url)
    assert ended.status == 1 and "remedy:" in ended.err


def test_an_authority_that_does_not_answer_is_named(serving: Serving, run: Run):
    for url in ("https://127.0.0.1:1", "https://[bad", "https://127.0.0.1:99999"):
        ended = run("node", "list", "--state", serving.state, "--url", url)
        assert ended.status == 1 and url in ended.err and "remedy:" in ended.err


def test_another_authority_is_not_spoken_to(serving: Serving, run: Run, tmp_path: Path):
    run("init", "--name", "127.0.0.1", "--state", tmp_path / "other")
    ended = run("node", "list", *serving.options, "--ca-file", tmp_path / "other" / "ca" / "ca.pem")
    assert ended.status == 1 and "certificate that is not to be trusted" in ended.err
    assert run("node", "list", *serving.options).status == 0


def test_what_a_node_says_of_itself_cannot_forge_lines(serving: Serving, run: Run):
    add_node(serving, reason="fine\x1b[2J\x1b[31m\rgone [bold]x[/bold]")
    shown = run("node", "show", "n1", *serving.options)
    assert shown.status == 0
    assert "\x1b[2J" not in shown.out and "\r" not in shown.out and "[bold]" in shown.out
