"""Many at once by the command line: tokens, tickets, a person revoked everywhere, rosters."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import func, select

from authority import fleet_orders
from authority.planes import Hub
from authority.service import beat
from authority.store import schema
from authority.watching import watch_over
from protocol.tokens import parse_join_token
from tests.authority.cli.conftest import Run, Serving
from tests.authority.cli.test_commands import add_node
from tests.authority.cli.test_profile_commands import add_profile


def sheet(text: str) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(text))]


def made(serving: Serving) -> int:
    row = schema.join_token
    return serving.authority.store.run(lambda conn: conn.execute(select(func.count()).select_from(row)).scalar_one())


def test_tokens_from_a_file_and_by_number_go_to_a_private_file(serving: Serving, run: Run, tmp_path: Path) -> None:
    wanted, out, more = tmp_path / "rack.csv", tmp_path / "tokens.csv", tmp_path / "more.csv"
    wanted.write_text("\ufeffname,lab\nrack1-a,true\n\nrack1-b,\n", encoding="utf-8")
    ended = run("node", "tokens", "--from", wanted, "--out", out, *serving.options)
    assert ended.status == 0 and stat.S_IMODE(out.stat().st_mode) == 0o600
    tokens = sheet(out.read_text())
    assert [each["name"] for each in tokens] == ["rack1-a", "rack1-b"]
    assert all(each["token"] not in ended.out + ended.err for each in tokens)
    assert all(parse_join_token(each["token"]).lookup for each in tokens)
    numbered = ("node", "tokens", "--count", "3", "--prefix", "rack2-", "--first", "9", "--out", more)
    assert run(*numbered, *serving.options, "--json").value == {"count": 3, "file": os.fspath(more)}
    assert [each["name"] for each in sheet(more.read_text())] == ["rack2-09", "rack2-10", "rack2-11"]
    shown = run("node", "tokens", "--count", "1", "--prefix", "rack3-", "--stdout", *serving.options)
    assert sheet(shown.out)[0]["name"] == "rack3-01"


BAD = [
    (b"name\nok\nNot A Name\n", "line 3"),
    (b"name,lab\nok,perhaps\n", "line 2"),
    (b"name\nok,more\n", "line 2"),
    (b"node\nok\n", "columns"),
    (b"name\n", "0 rows"),
    (b"name\n" + b"".join(b"n%d\n" % number for number in range(1001)), "1001 rows"),
    (b"\xff\xfe", "UTF-8"),
    (b'name\n"open', "line 2"),
]


def test_a_bad_file_names_the_line_and_leaves_nothing(serving: Serving, run: Run, tmp_path: Path) -> None:
    wanted, out = tmp_path / "rack.csv", tmp_path / "tokens.csv"
    for content, said in BAD:
        wanted.write_bytes(content)
        ended = run("node", "tokens", "--from", wanted, "--out", out, *serving.options)
        assert ended.status == 1 and said in ended.err and "remedy" in ended.err, ended.err
        assert not out.exists()
    assert made(serving) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("node", "tokens", "--count", "2", "--prefix", "n"),
        ("node", "tokens", "--count", "2", "--prefix", "n", "--out", "x", "--stdout"),
        ("node", "tokens", "--count", "2", "--stdout"),
        ("node", "tokens", "--stdout"),
        ("admin", "tickets", "--from", "x", "--out", "x"),
        ("admin", "revoke", "r1", "--reason", "x"),
        ("node", "roster", "--csv", "--json"),
    ],
    ids=" ".join,
)
def test_what_is_unclear_is_asked_back(run: Run, tmp_path: Path, arguments: tuple[str, ...], serving: Serving) -> None:
    ended = run(*arguments, *serving.options)
    assert ended.status == 1 and "remedy" in ended.err
    assert made(serving) == 0


def test_tickets_and_pins_go_to_two_files(serving: Serving, run: Run, tmp_path: Path) -> None:
    add_node(serving, "n1")
    add_node(serving, "n2")
    wanted, out, pins = (tmp_path / name for name in ("people.csv", "tickets.csv", "pins.csv"))
    wanted.write_text("node,admin\nn1,ada\nn2,ada\n")
    command = ("admin", "tickets", "--from", wanted, "--out", out, "--pin-out", pins, *serving.options)
    assert run(*command).status == 0
    assert [stat.S_IMODE(file.stat().st_mode) for file in (out, pins)] == [0o600, 0o600]
    tickets, numbers = sheet(out.read_text()), sheet(pins.read_text())
    assert [(each["admin"], each["node"]) for each in tickets] == [("ada", "n1"), ("ada", "n2")]
    assert all(each["pin"] not in out.read_text() for each in numbers)
    wanted.write_text("node,admin\nn1,ada\nn9,ada\n")
    again = run("admin", "tickets", "--from", wanted, "--stdout", *serving.options)
    assert again.status == 1 and "line 3: no node named 'n9'" in again.err
    assert run(*command).status == 1 and sheet(out.read_text()) == tickets  # not written over


def test_a_person_is_revoked_at_every_node_and_let_in_again(serving: Serving, run: Run) -> None:
    first, second = add_node(serving, "n1"), add_node(serving, "n2")
    add_profile(serving, "r1", "ada", "active", node_id=first)
    add_profile(serving, "r2", "ada", "active", node_id=second)
    add_profile(serving, "r3", "bob", "active", node_id=second)
    done = run("admin", "revoke", "ada", "--all", "--reason", "left", *serving.options, "--json").value
    assert [(each["node"], each["was"]) for each in done["nodes"]] == [("n1", "active"), ("n2", "active")]
    words = run("admin", "revoke", "ada", "--all", *serving.options)
    assert words.status == 0 and "n2" in words.out and "never" in words.out
    roster = run("admin", "roster", *serving.options, "--json").value
    assert [(each["name"], each["state"]) for each in roster] == [("ada", "revoked"), ("bob", "active")]
    assert run("admin", "revoke", "nobody", "--all", *serving.options).status == 1
    assert run("admin", "revoke", "r3", *serving.options).status == 0
    assert run("admin", "readmit", "ada", *serving.options).status == 0
    assert run("admin", "readmit", "ada", *serving.options).status == 1


async def beaten(serving: Serving) -> None:
    """The scheduler's own beat, until nothing is under way."""
    site, store, rt = serving.authority.site, serving.authority.store, serving.authority.runtime
    beating = asyncio.create_task(beat(serving.authority, Hub(), watch_over(site, store, rt, [])))
    try:
        async with asyncio.timeout(60):
            while await store.arun(lambda conn: bool(fleet_orders.running(conn))):
                await asyncio.sleep(0.01)
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


def test_how_far_an_order_has_come_is_seen_until_the_beat_has_made_its_passes(serving: Serving, run: Run) -> None:
    node = add_node(serving, "n1")
    count = fleet_orders.AT_ONCE + 1
    for number in range(count):
        add_profile(serving, f"r{number}", "ada", "active", node_id=node)
    done = run("admin", "revoke", "ada", "--all", "--reason", "left", *serving.options, "--json").value
    (order,) = run("fleet-orders", *serving.options, "--json").value
    assert (order["id"], order["kind"], order["subject"], order["total"]) == (done["order"], "revoke", "ada", count)
    assert order["state"] == "under-way" and 0 < order["done"] < count
    shown = run("fleet-orders", *serving.options).out
    assert "ada" in shown and f"of {count}" in shown
    assert "has come to" in run("admin", "readmit", "ada", *serving.options).err
    asyncio.run(beaten(serving))
    assert "nothing is under way" in run("fleet-orders", *serving.options).out
    (order,) = run("fleet-orders", "--all", *serving.options, "--json").value
    assert (order["state"], order["done"]) == ("done", count) and order["ended_at"]
    assert {each["state"] for each in run("admin", "list", *serving.options, "--json").value} == {"revoked"}
    assert run("admin", "readmit", "ada", *serving.options).status == 0


def test_rosters_as_csv_and_json(serving: Serving, run: Run, tmp_path: Path) -> None:
    first = add_node(serving, "n1", reason="=cmd()", last_seen_at=0.0)
    add_node(serving, "n2", state="retired")
    add_profile(serving, "r1", "ada", "active", node_id=first, approved_by="bob")
    rows = sheet(run("node", "roster", "--csv", *serving.options).out)
    assert [(each["name"], each["state"], each["administrators"]) for each in rows] == [
        ("n1", "active", "ada"),
        ("n2", "retired", ""),
    ]
    assert rows[0]["reason"] == "'=cmd()" and rows[0]["last_seen"] == "1970-01-01T00:00:00Z"
    people, out = sheet(run("admin", "roster", "--csv", *serving.options).out), tmp_path / "nodes.json"
    assert (people[0]["administrator"], people[0]["node"], people[0]["approved_by"]) == ("ada", "n1", "bob")
    assert run("node", "roster", "--only", "retired", "--out", out, *serving.options).status == 0
    assert [each["name"] for each in json.loads(out.read_text())] == ["n2"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    seen = run("node", "roster", "--unseen-days", "1", *serving.options, "--json").value
    assert [each["name"] for each in seen] == ["n1", "n2"]
    assert "ada" in run("admin", "roster", *serving.options).out


def test_stale_nodes_are_shown_before_anything_happens_to_them(serving: Serving, run: Run) -> None:
    add_node(serving, "n1", last_seen_at=0.0)
    assert "try --alert-days" in run("node", "stale", *serving.options).out
    limits = ("--alert-days", "10", "--retire-days", "30")
    (found,) = run("node", "stale", *limits, *serving.options, "--json").value
    assert (found["node"], found["step"]) == ("n1", "alert") and found["retire_at"] > found["silent_s"]
    assert "n1" in run("node", "stale", *limits, *serving.options).out
    assert run("node", "show", "n1", *serving.options, "--json").value["state"] == "active"
