"""`keyvigil-authority policy check`: is a policy sound, what does it cost, what would it have made of last month."""

from __future__ import annotations

import datetime as dt
import re
import time
from pathlib import Path
from typing import Any

import click

from authority.cli.client import state_option
from authority.cli.output import CommandFailed, emit, json_option, pairs, score, table
from authority.cli.replay_plot import draw
from authority.trust.cadence import WEEK_H, cadence
from authority.trust.duty import duty
from authority.trust.policy import Policy
from authority.trust.policy_file import load_policy
from authority.trust.replay import Comparison, Course, compare, moments
from protocol.levels import Tier

_FILE = click.Path(path_type=Path, dir_okay=False)
_UNITS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_MOST_POINTS = 1000


def duration(_: click.Context, __: click.Parameter, text: str) -> float:
    """Seconds of "12h", "30d" or "4w"."""
    found = re.fullmatch(r"([1-9][0-9]{0,3})([hdw])", text)
    if found is None or int(found[1]) * _UNITS[found[2]] > 366 * 86400:
        raise click.BadParameter("write it like 12h, 30d or 4w, up to a year")
    return int(found[1]) * _UNITS[found[2]]


@click.command("check")
@click.argument("file", type=_FILE, required=False)
@click.option("--replay", is_flag=True, help="Recompute scores and tiers from the database's events under the policy.")
@click.option("--since", callback=duration, default="30d", show_default=True, help="How far back, like 12h, 30d, 4w.")
@click.option("--plot", type=_FILE, help="With --replay: draw the scores into this SVG file.")
@click.option("--nodes", type=click.IntRange(0, 100_000), help="Number of nodes; else those of the database, or 10.")
@state_option
@json_option
def check(
    file: Path | None, replay: bool, since: float, plot: Path | None, nodes: int | None, state: Path, as_json: bool
) -> None:
    """Check the policy in FILE, or the authority's own, and tell what it costs the people of its calendar and roster.

    With --replay, also against what happened at this authority.
    """
    if plot is not None and not replay:
        raise click.UsageError("--plot needs --replay")
    policy = load_policy(file if file is not None else _own(state))
    found: dict[str, Any] = {"valid": True, **policy.identity}
    compared: list[Comparison] = []
    if replay:
        compared, found["replay"] = _replay(state, policy, since)
        if plot is not None:
            _write(plot, draw(compared, f"{policy.version}: scores that were, and would have been"))
    number = nodes if nodes is not None else len(compared) or 10
    found["cost"] = _cost(policy, number, dt.datetime.now(dt.UTC).date())
    emit(found, as_json, _tell)


def _own(state: Path) -> Path:
    from authority.config import load_site

    site = load_site(state)
    return site.path(site.config.policy)


def _cost(policy: Policy, nodes: int, today: dt.date) -> dict[str, Any]:
    """The coming year by the policy's calendar, what it takes of people a day, and of each on the roster."""
    interval = policy.challenge_interval_s(lab_node=policy.lab)
    there = duty(policy.attended, policy.roster, today)
    cost = cadence(interval, min(there.attended_h, WEEK_H), policy.challenge.grace_s, nodes)
    return {
        "nodes": nodes,
        "attended_h_per_week": round(there.attended_h, 2),
        "idle_h_per_week": round(there.idle_h, 2),
        "visits_per_day": round(cost.visits, 2),
        "rounds_per_day": round(cost.rounds, 2),
        "person_minutes_per_day": round(cost.minutes, 1),
        "people": {
            name: {
                "on_duty_h_per_week": round(there.on_duty_h[name], 2),
                "person_minutes_per_day": round(share * cost.minutes, 1),
            }
            for name, share in there.shares.items()
        },
    }


def _replay(state: Path, policy: Policy, since: float) -> tuple[list[Comparison], dict[str, Any]]:
    from authority import replaying
    from authority.config import load_site
    from authority.site_database import read_only

    site, end = load_site(state), time.time()
    begin = end - since
    with replaying.reading(read_only(site)) as conn:
        found = replaying.stories(conn)
        before = replaying.in_force(conn, load_policy(_own(state)))
        recorded = replaying.recorded(conn, begin, end)
        unseen = replaying.faces_without_infrared(conn) if policy.challenge.require_infrared else []
    compared = []
    for name, story in found.items():
        times = moments([story], begin, end, since / _MOST_POINTS)
        compared.append(compare(name, story, (before, policy), times))
    return compared, {
        "days": since / 86400,
        "nodes": [_row(each) for each in compared],
        "demotions_added": sum(each.would.demotions - each.was.demotions for each in compared),
        "isolations_added": sum(each.would.isolations - each.was.isolations for each in compared),
        "recorded": {"demotions": recorded.demotions, "isolations": recorded.isolations},
        "faces_without_infrared": [{"node": node, "admin": admin} for node, admin in unseen],
    }


def _row(each: Comparison) -> dict[str, Any]:
    return {"node": each.name, "was": _summary(each.was), "would": _summary(each.would)}


def _summary(course: Course) -> dict[str, Any]:
    last = course.points[-1]
    return {
        "score": last.score,
        "tier": last.tier.value,
        "state": last.state.value,
        "explanation": last.explanation,
        "mean": course.mean,
        "demotions": course.demotions,
        "isolations": course.isolations,
        **{tier.value: round(course.share(tier), 4) for tier in Tier},
    }


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"cannot write {file}: {error.strerror}", "Name a file in a folder that exists.") from None


def _tell(found: dict[str, Any]) -> None:
    click.echo(f"policy {found['version']} is valid ({found['sha256'][:16]})")
    _tell_cost(found["cost"])
    if "replay" in found:
        _tell_replay(found["replay"])


def _tell_cost(cost: dict[str, Any]) -> None:
    pairs(
        f"What it costs, {cost['nodes']} nodes attended {cost['attended_h_per_week']:g} hours a week",
        {
            "visits a day": cost["visits_per_day"],
            "rounds a day": cost["rounds_per_day"],
            "person-minutes a day": cost["person_minutes_per_day"],
        },
    )
    if not cost["people"]:
        return
    rows = [
        [name, f"{each['on_duty_h_per_week']:g}", f"{each['person_minutes_per_day']:g}"]
        for name, each in cost["people"].items()
    ]
    table("The roster", ("person", "on duty, hours a week", "minutes a day"), rows)
    if cost["idle_h_per_week"]:
        click.echo(f"{cost['idle_h_per_week']:g} attended hours a week have nobody of the roster: summonses wait then,")
        click.echo("or are missed, unless somebody without an entry in it is enrolled")


def _tell_replay(replay: dict[str, Any]) -> None:
    headings = ("node", "score", "mean", "tier", "state", "time high", "demotions", "isolations")
    rows = [
        [
            each["node"],
            *_change(each, "score", score),
            *_change(each, "mean", score),
            *_change(each, "tier", str),
            *_change(each, "state", str),
            *_change(each, "high", "{:.0%}".format),
            *_change(each, "demotions", str),
            *_change(each, "isolations", str),
        ]
        for each in replay["nodes"]
    ]
    table(f"The last {replay['days']:g} days, as they were \u2192 as they would have been", headings, rows)
    for what in ("demotions", "isolations"):
        number = replay[f"{what}_added"]
        click.echo(f"{what}: {abs(number)} {'avoided' if number < 0 else 'added'}")
    recorded = replay["recorded"]
    click.echo(f"recorded in the period: {recorded['demotions']} demotions, {recorded['isolations']} isolations")
    if unseen := replay["faces_without_infrared"]:
        click.echo(f"faces that would count for nothing until they are enrolled anew with infrared: {len(unseen)}")
        table("Without infrared", ("node", "administrator"), [[each["node"], each["admin"]] for each in unseen])


def _change(each: dict[str, Any], name: str, shown: Any) -> list[str]:
    was, would = shown(each["was"][name]), shown(each["would"][name])
    return [was if was == would else f"{was} \u2192 {would}"]
