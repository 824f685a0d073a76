"""How the console writes times, scores and states: in words and shapes first, in colour besides."""

from __future__ import annotations

import time
from collections.abc import Sequence

from authority.console.markup import Child, Markup, h, joined
from authority.trust.tiers import HIGH_ABOVE, MEDIUM_ABOVE
from protocol.levels import NodeState, Tier

_NEVER = "never"
_GOOD, _FAIR, _POOR, _OUT = "good", "fair", "poor", "out"
_STATE_TONE = {
    NodeState.PENDING: _OUT,
    NodeState.ACTIVE: _GOOD,
    NodeState.OVERDUE: _FAIR,
    NodeState.DEMOTED: _FAIR,
    NodeState.ISOLATED: _POOR,
    NodeState.BANNED: _POOR,
    NodeState.RETIRED: _OUT,
}
_TIER_TONE = {Tier.HIGH: _GOOD, Tier.MEDIUM: _FAIR, Tier.LOW: _POOR}
_SEVERITY_TONE = {"critical": _POOR, "error": _POOR, "warning": _FAIR, "notice": _OUT, "info": _OUT}
_SHAPES = {_GOOD: "\N{BLACK CIRCLE}", _FAIR: "\N{CIRCLE WITH LEFT HALF BLACK}", _POOR: "\N{BLACK DIAMOND}"}
_BAR = 64


def moment(at: float | None, absent: str = _NEVER) -> Markup:
    """A time in UTC, to the minute; the script adds the reader's own."""
    if at is None:
        return h("span", absent, class_="faint")
    return h("time", stamp(at), datetime=_machine(at))


def stamp(at: float) -> str:
    """As `moment`, for the middle of a sentence."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def span(seconds: float) -> str:
    """A length of time, to two figures that matter: "3 h 20 min"."""
    whole = max(0, round(seconds))
    for size, name, part, part_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {name} {rest} {part_name}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def relative(at: float | None, now: float, absent: str = _NEVER) -> Markup:
    """How long ago or ahead, with the time itself for whoever asks."""
    if at is None:
        return h("span", absent, class_="faint")
    text = f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"
    return h("time", text, datetime=_machine(at))


def score(thousandths: int) -> str:
    """A score as the requirement writes it, 0.00 to 1.00; cut, so that 0.80 never looks like more."""
    return f"{thousandths // 10 / 100:.2f}"


def move(before: str, after: str) -> Markup:
    """From what to what."""
    return h("span", before, " → ", h("strong", after), class_="move")


def meter(thousandths: int) -> Markup:
    """A score as a number and a bar with marks at the thresholds."""
    filled = round(_BAR * thousandths / 1000)
    marks = [h("line", x1=_at(limit), x2=_at(limit), y1=0, y2=8, class_="mark") for limit in (MEDIUM_ABOVE, HIGH_ABOVE)]
    track = h("rect", width=_BAR, height=4, y=2, rx=2, class_="track")
    fill = h("rect", width=filled, height=4, y=2, rx=2, class_="fill") if filled else None
    drawing = h("svg", track, fill, marks, width=_BAR, height=8, viewBox=f"0 0 {_BAR} 8", aria_hidden="true")
    return h("span", h("span", score(thousandths), class_="figure"), drawing, class_="meter")


def tier(name: str) -> Markup:
    """A tier."""
    return _badge(name, _TIER_TONE[Tier(name)])


def state(name: str) -> Markup:
    """The state of a node."""
    return _badge(name, _STATE_TONE[NodeState(name)])


def severity(name: str) -> Markup:
    """How bad an alert is."""
    return _badge(name, _SEVERITY_TONE.get(name, _OUT))


def verdict(text: str, *, good: bool) -> Markup:
    """Whether something holds."""
    return _badge(text, _GOOD if good else _POOR)


def table(
    caption: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[Child]],
    empty: str,
    moves: Sequence[int] | None = None,
) -> Markup:
    """A table whose first column names each row; `empty` is said without any. `moves` ties rows to dots of a chart."""
    if not rows:
        return h("p", empty, class_="empty")
    head = h("tr", *(h("th", each, scope="col") for each in headings))
    marks = moves if moves is not None else [None] * len(rows)
    body = [_row(each, mark) for each, mark in zip(rows, marks, strict=True)]
    made = h("table", h("caption", caption, class_="unseen"), h("thead", head), h("tbody", *body))
    return h("div", made, class_="scroll", role="region", aria_label=caption, tabindex=0)


def prose(text: str) -> Markup:
    """Text in which what stands between backticks is code."""
    return joined(*(h("code", part) if at % 2 else part for at, part in enumerate(text.split("`"))))


def pairs(*given: tuple[str, Child]) -> Markup:
    """Names with their values."""
    return h("dl", *(h("div", h("dt", name), h("dd", value)) for name, value in given), class_="pairs")


def section(title: str, *content: Child) -> Markup:
    """A part of a page under a heading."""
    return h("section", h("h2", title), *content)


def pages(number: int, last: int, address: str, total: str) -> Markup:
    """Steps through a list; `address` is that of the list without a page."""
    glue = "&" if "?" in address else "?"

    def step(to: int, text: str, rel: str) -> Child:
        return h("a", text, href=f"{address}{glue}page={to}", rel=rel) if 1 <= to <= last else None

    where = h("span", f"{total}, page {number} of {last}")
    return h(
        "nav",
        step(number - 1, "Previous", "prev"),
        where,
        step(number + 1, "Next", "next"),
        class_="pages",
        aria_label="Pages",
    )


def _row(cells: Sequence[Child], move: int | None) -> Markup:
    first, *rest = cells
    return h("tr", h("th", first, scope="row"), *(h("td", each) for each in rest), data_move=move)


def _badge(text: str, tone: str) -> Markup:
    shape = h("span", _SHAPES.get(tone, "\N{WHITE CIRCLE}"), aria_hidden="true", class_="shape")
    return h("span", shape, text, class_=f"badge {tone}")


def _at(limit: int) -> int:
    return round(_BAR * limit / 1000)


def _machine(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
