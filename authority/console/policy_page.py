"""The policy in force, those before it, and what another one would have made of the same events."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import select

from authority import policies
from authority.console import chart, words
from authority.console.desk import Desk, Visit
from authority.console.fleet_page import choice, labelled
from authority.console.frame import form, page
from authority.console.markup import Child, Markup, h, path
from authority.console.replay import Replay, Replayer, policy_choices
from authority.refusal import Refused
from authority.roles import Scope
from authority.store import schema
from authority.trust import Policy, parse_policy
from authority.trust.replay import Comparison
from protocol.levels import Tier
from protocol.problems import ErrorCode

PERIODS = {"7": "a week", "30": "30 days", "90": "90 days"}
POLICY_CHARACTERS = 40_000
_DRAWN = 24
"""Nodes that are drawn; the others are in the table only."""
_PASTED = "text"


def policy_routes(desk: Desk) -> None:
    """The page and the replay, which changes nothing."""
    replayer = Replayer(desk.context)

    @desk.page("/policy")
    async def show(visit: Visit) -> Markup:
        """The policy in force, and the form for a replay."""
        known, before = await visit.read(lambda conn: (policy_choices(conn), policies.in_force(conn)))
        return page(visit, "policy", "Policy", _in_force(visit), _form(visit, known), _history(before))

    @desk.form("/policy/replay", Scope.READ)
    async def replay(visit: Visit) -> Markup:
        """What the chosen policy would have made of the last days."""
        days, name = visit.text("days"), visit.text("nodes", 63)
        if days not in PERIODS:
            raise Refused(ErrorCode.MALFORMED, 422, "there is no such period", "Choose one of those on the page.")
        policy = await _chosen(visit)
        found = await replayer.run(policy, name, float(days) * 86400)
        return page(visit, "policy", f"Replay of {policy.version}", *_result(policy, found, PERIODS[days]))


async def _chosen(visit: Visit) -> Policy:
    which = visit.text("policy")
    if which == _PASTED:
        return parse_policy(visit.text("text", POLICY_CHARACTERS, needed=True).replace("\r\n", "\n"))
    row = schema.policy_version
    seq = int(which) if which.isascii() and which.isdecimal() and len(which) < 18 else 0
    settings = await visit.read(lambda conn: conn.scalar(select(row.c.settings).where(row.c.seq == seq)))
    try:
        return msgspec.json.decode(settings or b"", type=Policy)
    except msgspec.DecodeError:
        raise Refused(ErrorCode.MALFORMED, 422, "there is no such policy", "Choose one of those on the page.") from None


def _in_force(visit: Visit) -> Markup:
    policy = visit.context.runtime.policy
    challenge, weights = policy.challenge, policy.weights
    share = (
        f"success {weights.success}, speed {weights.speed}, quality {weights.quality}, behaviour {weights.behaviour}"
    )
    every = f"{words.span(challenge.min_s)} to {words.span(challenge.max_s)}"
    settings = msgspec.json.format(msgspec.json.encode(policy, order="sorted"), indent=2).decode()
    facts = words.pairs(
        ("Version", policy.version),
        ("SHA-256", h("code", policy.sha256)),
        ("Challenged every", every),
        ("Time to answer", words.span(challenge.grace_s)),
        ("Modalities", f"at least {challenge.min_modalities} of {', '.join(policy.enrolment.modalities)}"),
        ("Weights, thousandths", share),
    )
    return words.section("In force", facts, h("details", h("summary", "Every setting"), h("pre", settings, tabindex=0)))


def _form(visit: Visit, known: list[tuple[str, str]]) -> Markup:
    options = [(_PASTED, "the text below"), *known]
    said = "Scores are computed anew from the recorded events. Nothing changes, and nobody is told."
    text = h(
        "textarea",
        id="text",
        name="text",
        rows=10,
        maxlength=POLICY_CHARACTERS,
        spellcheck="false",
        aria_describedby="text-hint",
    )
    return words.section(
        "Replay",
        h("p", said),
        form(
            visit,
            path("policy", "replay"),
            h(
                "div",
                labelled("policy", "Policy", choice("policy", options, _PASTED)),
                labelled("days", "Over the last", choice("days", [*PERIODS.items()], "30")),
                labelled("nodes", "Nodes whose name contains", h("input", id="nodes", name="nodes", maxlength=63)),
                class_="filters",
            ),
            h("label", "Policy file (TOML)", for_="text"),
            h("p", "Paste it, or choose a file where this browser runs scripts.", id="text-hint", class_="faint"),
            text,
            h("div", data_file_for="text", data_label="Choose a policy file", class_="file"),
            h("button", "Replay", class_="primary"),
            label="Replay",
        ),
    )


def _history(rows: Any) -> Markup:
    shown = [(each.version, words.moment(each.since), h("code", each.sha256[:16])) for each in reversed(rows)]
    table = words.table("Policies", ("Version", "In force since", "SHA-256"), shown, "No policy was noted yet.")
    return words.section("History", table)


def _result(policy: Policy, found: Replay, period: str) -> list[Child]:
    said = f"{len(found.compared)} nodes over {period}, policy {policy.version} ({policy.sha256[:8]})."
    how = "narrow them down, or use `keyvigil-authority policy check --replay`"
    left = f" {found.left_out} nodes, the last by name, did not fit: {how}."
    summary = h(
        "ul",
        h("li", _added(found.demotions_added, "demotions")),
        h("li", _added(found.isolations_added, "isolations")),
        class_="lead",
    )
    drawn = sorted(found.compared, key=_moved, reverse=True)[:_DRAWN]
    return [
        h("p", said, words.prose(left) if found.left_out else None),
        summary,
        words.section(
            "Nodes", words.table("Replay", _HEADINGS, [_row(each) for each in found.compared], "No node was found.")
        ),
        _drawings(drawn) if drawn else None,
        h("p", h("a", "Another replay", href=path("policy"))),
    ]


_HEADINGS = ("Node", "Score", "Mean", "Tier", "State", "Time high", "Demotions", "Isolations")


def _row(each: Comparison) -> list[Child]:
    return [
        h("a", each.name, href=path("nodes", each.name)),
        _change(each, lambda course: words.score(course.points[-1].score)),
        _mean(each),
        _change(each, lambda course: course.points[-1].tier.value),
        _change(each, lambda course: course.points[-1].state.value),
        _change(each, lambda course: f"{course.share(Tier.HIGH):.0%}"),
        _change(each, lambda course: str(course.demotions)),
        _change(each, lambda course: str(course.isolations)),
    ]


def _change(each: Comparison, shown: Any) -> Child:
    was, would = shown(each.was), shown(each.would)
    return was if was == would else words.move(was, would)


def _mean(each: Comparison) -> Child:
    return _change(each, lambda course: words.score(course.mean))


def _moved(each: Comparison) -> int:
    return sum(abs(one.score - two.score) for one, two in zip(each.was.points, each.would.points, strict=True))


def _added(number: int, what: str) -> str:
    return f"{abs(number)} {what} {'avoided' if number < 0 else 'added'}"


def _drawings(drawn: list[Comparison]) -> Markup:
    key = h("p", "Solid: as it would have been. Dashed: as it was. Those that differ most come first.", class_="faint")
    figures = [
        h("figure", h("figcaption", each.name, " ", h("span", "mean ", _mean(each), class_="faint")), _drawing(each))
        for each in drawn
    ]
    return words.section("Drawings", key, h("div", figures, class_="gallery"))


def _drawing(each: Comparison) -> Markup:
    was, would = words.score(each.was.mean), words.score(each.would.mean)
    said = f"{each.name}: mean {was} as it was, {would} as it would have been"
    return chart.spark(each.would.points, each.was.points, said)
