"""The score over time as an SVG drawing: colours and line styles come from the style sheet, for light and dark."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

from authority.console.course import Course
from authority.console.markup import Markup, h
from authority.console.words import score
from authority.trust import CUT_OFF, Point
from authority.trust.tiers import HIGH_ABOVE, MEDIUM_ABOVE

_WIDTH, _HEIGHT = 960, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 64, 12, 28
_DAYS = 6
_BANDS = (("high", 1000, HIGH_ABOVE), ("medium", HIGH_ABOVE, MEDIUM_ABOVE), ("low", MEDIUM_ABOVE, 0))


def draw(course: Course, described: str, other: Sequence[Point] = ()) -> Markup:
    """The drawing, the moves as dots; `other` is a second course, dashed. `described` says in words what it shows."""
    points = course.points
    begin, end = points[0].at, points[-1].at
    dots = [
        h("circle", cx=_x(move.after.at, begin, end), cy=_y(move.after.score), r=3.5, class_="dot", data_move=number)
        for number, move in enumerate(course.moves)
    ]
    return h(
        "svg",
        h("title", described),
        _bands(),
        _cut_off(points),
        _days(begin, end),
        _line(other, begin, end, "other") if other else None,
        _line(points, begin, end, "score"),
        dots,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        class_="chart",
    )


def spark(points: Sequence[Point], other: Sequence[Point], described: str) -> Markup:
    """Two courses, small and without words, over the tiers' colours."""
    begin, end = points[0].at, points[-1].at
    lines = [_line(other, begin, end, "other"), _line(points, begin, end, "score")]
    return h(
        "svg",
        h("title", described),
        [_band(*each) for each in _BANDS],
        lines,
        viewBox=f"{_LEFT} {_TOP} {_WIDTH - _LEFT - _RIGHT} {_HEIGHT - _TOP - _BOTTOM}",
        role="img",
        class_="spark",
    )


def _bands() -> list[Markup]:
    """The three tiers, named at the right, with their thresholds at the left."""
    found = []
    for name, top, bottom in _BANDS:
        found.append(_band(name, top, bottom))
        found.append(h("text", name, x=_WIDTH - _RIGHT + 8, y=round((_y(top) + _y(bottom)) / 2 + 4, 1)))
    for limit in (0, MEDIUM_ABOVE, HIGH_ABOVE, 1000):
        found.append(h("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=_y(limit), y2=_y(limit), class_="rule"))
        found.append(h("text", score(limit), x=_LEFT - 8, y=round(_y(limit) + 4, 1), text_anchor="end"))
    return found


def _band(name: str, top: int, bottom: int) -> Markup:
    height = round(_y(bottom) - _y(top), 1)
    return h("rect", x=_LEFT, y=_y(top), width=_WIDTH - _LEFT - _RIGHT, height=height, class_=f"band {name}")


def _cut_off(points: Sequence[Point]) -> list[Markup]:
    """Spans in which the node held no key."""
    begin, end = points[0].at, points[-1].at
    return [
        h(
            "rect",
            x=_x(one.at, begin, end),
            y=_TOP,
            width=round(_x(two.at, begin, end) - _x(one.at, begin, end), 1),
            height=_HEIGHT - _TOP - _BOTTOM,
            class_="cut-off",
        )
        for one, two in pairwise(points)
        if one.state in CUT_OFF
    ]


def _days(begin: float, end: float) -> list[Markup]:
    form = "%d %b" if end - begin > 2 * 86400 else "%H:%M"
    found = []
    for number in range(_DAYS + 1):
        at = begin + (end - begin) * number / _DAYS
        anchor = "start" if number == 0 else "end" if number == _DAYS else "middle"
        text = time.strftime(form, time.gmtime(at))
        found.append(h("text", text, x=_x(at, begin, end), y=_HEIGHT - 8, text_anchor=anchor))
    return found


def _line(points: Sequence[Point], begin: float, end: float, name: str) -> Markup:
    places = " ".join(f"{_x(each.at, begin, end)},{_y(each.score)}" for each in points)
    return h("polyline", points=places, class_=f"line {name}")


def _x(at: float, begin: float, end: float) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * (at - begin) / max(1e-9, end - begin), 1)


def _y(thousandths: int) -> float:
    return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - thousandths / 1000), 1)
