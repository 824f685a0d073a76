"""Two impressions compared: what their minutiae say together, as one figure."""

from __future__ import annotations

from dataclasses import dataclass

from agent.biometrics import parameters
from agent.biometrics.finger.alignment import Alignment, align
from agent.biometrics.finger.cylinders import similarity
from agent.biometrics.finger.geometry import inside
from agent.biometrics.finger.prepared import Prepared
from agent.biometrics.finger.relaxation import relax

_PRIOR = 3.0
"""Minutiae added to those expected in the overlap, so that a few in a small one are no proof."""
_FLOOR = 0.2
"""What coincidence alone counts, without any likeness of what surrounds the minutiae."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for one finger: `relaxed` strength of pairs 0..1, and `coincident` minutiae of those expected."""

    relaxed: float
    coincident: float


def compare(one: Prepared, other: Prepared) -> float:
    """The score of two impressions, 0 or more: about 1 for two fingers, 10 for two good impressions of one."""
    evidence, _ = weigh(one, other)
    return parameters.FINGERPRINT_RELAXED_WEIGHT * evidence.relaxed + evidence.coincident


def weigh(one: Prepared, other: Prepared) -> tuple[Evidence, Alignment]:
    """What speaks for one finger in two impressions, and how the first lies over the second."""
    alike = similarity(one.cylinders, other.cylinders)
    relaxed = relax(one.points, other.points, alike)
    alignment = align(one.points, other.points, relaxed)
    found = float((alignment.closeness * (_FLOOR + alike[alignment.one, alignment.other])).sum())
    expected = _expected(one, other, alignment) * _expected(other, one, alignment.inverse())
    return Evidence(relaxed.score, found / expected**0.25), alignment


def _expected(one: Prepared, other: Prepared, alignment: Alignment) -> float:
    """How many minutiae of the first impression lie where the second shows ridges."""
    if len(alignment.one) < 2:
        return len(one.points) + _PRIOR
    moved = alignment.move(one.points)
    return float(inside(other.foreground, moved.x, moved.y).sum()) + _PRIOR
