"""Policy replay in the console: the figures of the command line, and nothing changed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from msgspec.structs import replace as other

from authority import replaying, standing
from authority.console import replay
from authority.console.course import course
from authority.console.replay import Replayer
from authority.planes import Hub
from authority.planes.operator_context import OperatorContext
from authority.runtime import Refusal
from authority.trust import Performed, Presentation, PresentationKind, Story, default_policy
from authority.trust.replay import compare, moments
from tests.authority.console.house import READ, Browser, House

STRICT = 'version = "strict"\n[caps]\none_failure = 550\n'


@pytest.fixture(scope="module")
def viewer(house: House) -> Browser:
    node_ids = [house.node(f"rack-{number}") for number in range(3)]
    for hours, kind in enumerate(("accepted", "accepted", "accepted", "failed")):
        house.moved.now += 3600

        def record(conn, hours=hours, kind=kind) -> None:
            for at, node_id in enumerate(node_ids):
                standing.record_presentation(conn, house.rt, node_id, f"c{at}-{hours}", kind, 950, 950, house.rt.now())

        house.do(record)
    house.moved.now += 3600
    return house.signed_in(READ, "vera")


def test_a_pasted_policy_is_replayed(house: House, viewer: Browser) -> None:
    before = house.do(lambda conn: conn.exec_driver_sql("select score, tier, state from node").all())
    response = viewer.post("/console/policy/replay", {"policy": "text", "text": STRICT, "days": "7", "nodes": ""})
    assert response.status_code == 200 and "3 nodes over a week, policy strict" in response.text
    assert response.text.count("→ <strong>0.55</strong>") == 3 and response.text.count('class="spark"') == 3
    assert house.do(lambda conn: conn.exec_driver_sql("select score, tier, state from node").all()) == before
    assert house.rt.policy.version == "site-1"


def test_the_policy_in_force_would_have_changed_nothing(viewer: Browser) -> None:
    """The control of the test above."""
    response = viewer.post("/console/policy/replay", {"policy": "1", "days": "7", "nodes": "rack-1"})
    assert "1 nodes over a week, policy site-1" in response.text
    assert "→ <strong>" not in response.text and "0 demotions added" in response.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"policy": "text", "text": "version = 3"}, "version"),
        ({"policy": "text", "text": 'version = "x"\n[caps]\none_failure = 5000'}, "caps.one_failure"),
        ({"policy": "text", "text": ""}, "empty"),
        ({"policy": "text", "text": "x" * 41_000}, "too long"),
        ({"policy": "99"}, "no such policy"),
        ({"policy": "\N{SUPERSCRIPT TWO}"}, "no such policy"),
        ({"policy": "1", "days": "365"}, "no such period"),
    ],
)
def test_a_policy_that_cannot_be_used_is_named(viewer: Browser, fields: dict[str, str], said: str) -> None:
    response = viewer.post("/console/policy/replay", {"days": "7"} | fields)
    assert response.status_code == 422 and said in response.text


def test_the_figures_are_those_of_the_command_line(house: House, viewer: Browser) -> None:
    stories = house.do(replaying.stories)
    end, strict = house.rt.now(), other(default_policy(), version="strict")
    grid = moments([stories["rack-0"]], end - 7 * 86400, end, 7 * 86400 / replay.GRID)
    wanted = compare("rack-0", stories["rack-0"], (lambda _: house.rt.policy, strict), grid)
    found = asyncio.run(Replayer(context_of(house)).run(strict, "rack-0", 7 * 86400))
    assert found.left_out == 0 and [*found.compared] == [wanted]


def test_a_replay_that_is_too_large_says_what_it_left_out(house: House, viewer: Browser, monkeypatch) -> None:
    monkeypatch.setattr(replay, "BATCH", 1)
    monkeypatch.setattr(replay, "MOST_WORK", 300)
    found = asyncio.run(Replayer(context_of(house)).run(house.rt.policy, "", 86400))
    assert (len(found.compared), found.left_out) == (1, 2)


def test_one_replay_runs_at_a_time(house: House, viewer: Browser) -> None:
    replayer = Replayer(context_of(house))

    async def both() -> list[object]:
        runs = (replayer.run(house.rt.policy, "", 86400) for _ in range(2))
        return await asyncio.gather(*runs, return_exceptions=True)

    one, two = asyncio.run(both())
    assert isinstance(two, Refusal) and not isinstance(one, Exception)


def test_stories_of_some_nodes_are_those_of_all(house: House, viewer: Browser) -> None:
    everything = house.do(replaying.stories)
    node_id = house.row_id("rack-1")
    some = house.do(lambda conn: replaying.stories(conn, [node_id]))
    assert some == {"rack-1": everything["rack-1"]} and len(everything) == 3


def test_a_course_names_what_moved_the_score() -> None:
    kinds = (PresentationKind.ACCEPTED, PresentationKind.FAILED)
    story = Story([Performed(Presentation(at, kind, 900, 900)) for at, kind in zip((100.0, 200.0), kinds, strict=True)])
    found = course(story, lambda _: default_policy(), 0.0, 300.0)
    assert [(each.after.at, [*each.causes]) for each in found.moves if each.causes != ["time passed"]] == [
        (100.0, ["somebody presented themselves and was accepted"]),
        (200.0, ["a presentation failed"]),
    ]
    assert found.whole and found.points[0].at == 0.0 and found.points[-1].at == 300.0


def test_a_course_that_is_cut_short_says_so() -> None:
    one = Performed(Presentation(1.0, PresentationKind.ACCEPTED, 900, 900))
    story = Story([replace(one, presentation=replace(one.presentation, at=float(at))) for at in range(250)])
    assert not course(story, lambda _: default_policy(), 0.0, 300.0).whole


def context_of(house: House) -> OperatorContext:
    return OperatorContext(house.store, house.rt, Hub(), house.ca.ca_sha256)
