"""`policy check`: sound or not, what it costs, and the replay of an authority's own past."""

from __future__ import annotations

import json
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sqlalchemy import Connection, select

from authority import standing
from authority.config import load_site
from authority.service import open_authority
from authority.store import schema
from authority.trust import default_policy
from tests.authority.cli.conftest import Run
from tests.authority.world import World

DAY = 86400.0
OFFICE = '[attended]\ntime_zone = "Europe/Berlin"\n' + "".join(
    f'{day} = ["08:00-18:00"]\n' for day in ("mon", "tue", "wed", "thu", "fri")
)
ROSTER = (
    "[roster.ada]\n"
    + "".join(f'{day} = ["08:00-18:00"]\n' for day in ("mon", "tue", "wed"))
    + ('[roster.bob]\nwed = ["16:00-18:00"]\nfri = ["08:00-10:00"]\nsun = ["08:00-18:00"]\n')
)


@pytest.fixture
def state(run: Run, tmp_path: Path) -> Path:
    """A site with a month of one honest node and one that failed for a while."""
    folder = tmp_path / "state"
    assert run("init", "--name", "localhost", "--state", folder).status == 0
    authority = open_authority(load_site(folder))
    try:
        authority.store.run(_live)
    finally:
        authority.store.close()
    return folder


def _live(conn: Connection) -> None:
    world = World(conn, default_policy())
    nodes = [world.node(name) for name in ("honest", "odd")]
    begin = time.time() - 20 * DAY
    for number in range(38):
        world.clock = begin + number * DAY / 2
        for node in nodes:
            bad = node == nodes[1] and 20 <= number < 23
            kind, speed = ("failed", None) if bad else ("accepted", 1000)
            standing.record_presentation(conn, world.rt, node, f"{node[:4]}{number}", kind, speed, speed, world.clock)


def test_a_sound_policy_is_told_with_its_cost(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(f'version = "summer"\n{OFFICE}')
    found = run("policy", "check", file, "--nodes", 20, "--json").value
    assert (found["valid"], found["version"]) == (True, "summer")
    cost = found["cost"]
    assert (cost["attended_h_per_week"], cost["idle_h_per_week"], cost["people"]) == (50, 0, {})
    assert cost["visits_per_day"] == pytest.approx(20 * 50 / 7 / 12.5, abs=0.01)
    assert cost["rounds_per_day"] < cost["visits_per_day"]
    assert "person-minutes a day" in run("policy", "check", file).out


def test_a_policy_without_a_calendar_costs_every_hour(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('version = "always"\n')
    cost = run("policy", "check", file, "--nodes", 1, "--json").value["cost"]
    assert (cost["attended_h_per_week"], cost["visits_per_day"]) == (168, 1.92)


def test_the_roster_is_told_who_comes_and_when_nobody_does(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(f'version = "summer"\n{OFFICE}{ROSTER}')
    cost = run("policy", "check", file, "--json").value["cost"]
    assert cost["idle_h_per_week"] == 18
    assert {name: each["on_duty_h_per_week"] for name, each in cost["people"].items()} == {"ada": 30, "bob": 4}
    minutes = [each["person_minutes_per_day"] for each in cost["people"].values()]
    assert minutes == [pytest.approx(cost["person_minutes_per_day"] * share, abs=0.06) for share in (29 / 32, 3 / 32)]
    words = run("policy", "check", file).out
    assert "18 attended hours a week have nobody of the roster" in words and "ada" in words


def test_hours_a_week_are_the_calendar_s_and_no_option(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(f'version = "summer"\n{OFFICE}')
    assert run("policy", "check", file, "--attended", 10).status == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = ", "Invalid value"),
        ('version = "x"\n[behaviour]\npeer_quorum = 1\n', "behaviour.peer_quorum = 1"),
        ('version = "x"\n[behaviour]\nlow = 600\n', "behaviour.low must not be above behaviour.medium"),
        ('version = "x"\n[caps]\nhostile = 501\n', "caps.hostile = 501"),
        ('version = "x"\n[worth.models]\nmine = "good"\n', "worth"),
    ],
)
def test_an_unsound_policy_is_refused_by_its_key(run: Run, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    ended = run("policy", "check", file)
    assert ended.status == 1
    assert said in ended.err and "remedy" in ended.err


def test_the_same_policy_would_have_made_the_same(run: Run, state: Path) -> None:
    replay = run("policy", "check", "--replay", "--since", "30d", "--state", state, "--json").value["replay"]
    assert (replay["demotions_added"], replay["isolations_added"]) == (0, 0)
    for node in replay["nodes"]:
        assert node["was"] == node["would"]
    odd = replay["nodes"][1]["was"]
    assert (odd["isolations"], replay["recorded"]["isolations"]) == (1, 1)
    assert replay["recorded"]["demotions"] == sum(node["was"]["demotions"] for node in replay["nodes"])


def test_the_replay_s_baseline_is_what_the_authority_decided(run: Run, state: Path) -> None:
    replay = run("policy", "check", "--replay", "--state", state, "--json").value["replay"]
    authority = open_authority(load_site(state))
    rt, now = authority.runtime, time.time()

    def stood(conn: Connection) -> dict[str, tuple[int, str]]:
        standing.refresh_after(conn, rt, "", 1000, now)
        return {row.name: (row.score, row.state) for row in conn.execute(schema.node.select())}

    kept = authority.store.run(stood)
    authority.store.close()
    assert {each["node"]: (each["was"]["score"], each["was"]["state"]) for each in replay["nodes"]} == kept


def _enrol(conn: Connection) -> None:
    world = World(conn, default_policy())
    node = conn.scalar(select(schema.node.c.id).where(schema.node.c.name == "honest"))
    conn.execute(schema.administrator.insert().values(name="ada", created_at=0.0))
    told = {"plain": ("face", "", "active"), "seen": ("face", "{}", "active"), "finger": ("fingerprint", "", "active")}
    for name, (modality, infrared, profile_state) in (told | {"pending": ("face", "", "pending")}).items():
        values = {"node_id": node, "admin": "ada", "nonce": b"", "release_share": b"", "created_at": 0.0}
        values |= {"modalities": json.dumps([{"modality": modality}]), "infrared": infrared, "state": profile_state}
        row = schema.profile.insert().values(record_id=name, enrolment_id=name, expires_at=world.clock, **values)
        conn.execute(row)


def test_a_policy_that_demands_infrared_shows_whose_face_would_not_count(run: Run, state: Path, tmp_path: Path) -> None:
    authority = open_authority(load_site(state))
    try:
        authority.store.run(_enrol)
    finally:
        authority.store.close()
    file = tmp_path / "policy.toml"
    file.write_text('version = "seen"\n[challenge]\nrequire_infrared = true\n')
    demanding = run("policy", "check", file, "--replay", "--state", state, "--json").value["replay"]
    assert demanding["faces_without_infrared"] == [{"node": "honest", "admin": "ada"}]
    own = run("policy", "check", "--replay", "--state", state, "--json").value["replay"]
    assert own["faces_without_infrared"] == []
    assert "enrolled anew with infrared: 1" in run("policy", "check", file, "--replay", "--state", state).out


def test_another_policy_shows_what_it_would_have_changed(run: Run, state: Path, tmp_path: Path) -> None:
    file, drawing = tmp_path / "policy.toml", tmp_path / "plot.svg"
    file.write_text('version = "patient"\n[isolation]\nfailures = 5\n')
    ended = run("policy", "check", file, "--replay", "--plot", drawing, "--state", state, "--json")
    replay = ended.value["replay"]
    assert replay["isolations_added"] == -1
    assert replay["nodes"][0]["was"] == replay["nodes"][0]["would"]
    root = ElementTree.fromstring(drawing.read_text())
    assert len([each for each in root.iter() if each.tag.endswith("polyline")]) == 4
    words = run("policy", "check", file, "--replay", "--state", state).out
    assert "isolations: 1 avoided" in words


def test_a_database_is_only_read(run: Run, state: Path) -> None:
    before = (state / "authority.db").read_bytes()
    run("policy", "check", "--replay", "--state", state)
    assert (state / "authority.db").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--since", "30"), "30d"), (("--since", "9999w"), "up to a year"), (("--plot", "x.svg"), "--replay")],
)
def test_wrong_usage_is_told(run: Run, state: Path, options: tuple[str, ...], said: str) -> None:
    ended = run("policy", "check", "--state", state, *options)
    assert (ended.status, said in ended.err) == (2, True)


def test_a_state_folder_without_a_database_is_an_error(run: Run, state: Path) -> None:
    for name in ("authority.db", "authority.db-wal", "authority.db-shm"):
        (state / name).unlink(missing_ok=True)
    ended = run("policy", "check", "--replay", "--state", state, "--json")
    assert ended.status == 1
    assert json.loads(ended.out)["remedy"]
