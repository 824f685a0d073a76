"""Scores over time as an SVG drawing of our own: one panel a node, what was in grey, what would have been in blue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from xml.sax.saxutils import escape

from authority.cli.output import printable
from authority.trust.replay import Comparison
from authority.trust.tiers import HIGH_ABOVE, MEDIUM_ABOVE

_WIDTH, _PANEL, _LEFT, _TOP, _GAP = 900, 110, 150, 40, 24
_GREY, _BLUE = "#8a8a8a", "#1f5fbf"


def draw(compared: Sequence[Comparison], title: str) -> str:
    """The drawing; thresholds of the tiers are dashed, isolation is not drawn."""
    height = _TOP + len(compared) * (_PANEL + _GAP) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="22" font-size="14">{_text(title)}</text>',
    ]
    for number, each in enumerate(compared):
        parts += _panel(each, _TOP + number * (_PANEL + _GAP))
    return "\n".join([*parts, "</svg>\n"])


def _panel(each: Comparison, top: int) -> list[str]:
    begin, end = each.was.points[0].at, each.was.points[-1].at
    day = [time.strftime("%Y-%m-%d", time.gmtime(at)) for at in (begin, end)]
    right = _WIDTH - 10
    lines = [
        f'<line x1="{_LEFT}" x2="{right}" y1="{_y(limit, top):.1f}" y2="{_y(limit, top):.1f}" '
        f'stroke="#c0c0c0" stroke-dasharray="4 3"/>'
        for limit in (HIGH_ABOVE, MEDIUM_ABOVE)
    ]
    frame = f'<rect x="{_LEFT}" y="{top}" width="{right - _LEFT}" height="{_PANEL}" fill="none" stroke="#404040"/>'
    words = [
        f'<text x="10" y="{top + 16}">{_text(each.name)[:40]}</text>',
        f'<text x="{_LEFT}" y="{top + _PANEL + 14}" fill="#606060">{day[0]}</text>',
        f'<text x="{right}" y="{top + _PANEL + 14}" fill="#606060" text-anchor="end">{day[1]}</text>',
    ]
    drawn = [(each.was.points, _GREY), (each.would.points, _BLUE)]
    curves = [
        f'<polyline fill="none" stroke="{colour}" points="'
        + " ".join(f"{_x(point.at, begin, end):.1f},{_y(point.score, top):.1f}" for point in points)
        + '"/>'
        for points, colour in drawn
    ]
    return [*lines, frame, *words, *curves]


def _x(at: float, begin: float, end: float) -> float:
    return _LEFT + (_WIDTH - 10 - _LEFT) * (at - begin) / max(1e-9, end - begin)


def _y(score: int, top: int) -> float:
    return top + _PANEL * (1 - score / 1000)


def _text(text: str) -> str:
    return escape(printable(text))
