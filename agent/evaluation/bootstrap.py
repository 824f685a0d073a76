"""Intervals by the bootstrap over subjects: pairs of one person are not independent, persons are.

Each replicate draws as many subjects as there are, with replacement. A genuine attempt then counts as often as its
subject was drawn, an impostor attempt as often as the product of both (Bolle, Ratha, Pankanti 2004, for the subjects;
both sides drawn, as pairs share people on both). Pairs between copies of one subject are no impostor attempts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.evaluation.attempts import Attempts, Trials
from agent.evaluation.rates import crossing

Array = NDArray[np.float64]
Interval = tuple[float, float]
LEAST_SUBJECTS = 3


@dataclass(frozen=True)
class Plan:
    """`replicates` of the subjects; the first `own` of `subjects` enrol, the rest are strangers, drawn apart."""

    own: int
    subjects: int
    replicates: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def draws(self) -> Iterator[Array]:
        """How often each subject is drawn, float64 `[replicate, subject]`, in portions."""
        random = np.random.default_rng(self.seed)
        groups = [count for count in (self.own, self.subjects - self.own) if count]
        for _ in range(self.replicates):
            yield np.concatenate([random.multinomial(n, np.full(n, 1.0 / n)) for n in groups]).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Replicates:
    """One value per replicate, `[r]`: the EER, and per target the FNMR at that FMR."""

    eer: Array
    fnmr_at: dict[float, Array]


def interval(values: Array, confidence: float = 0.95) -> Interval | None:
    """The percentile interval of replicates; None when most of them could not be computed."""
    usable = values[np.isfinite(values)]
    if usable.size < max(10, values.size // 2):
        return None
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(usable, [tail, 100.0 - tail])
    return float(low), float(high)


def share(attempts: Attempts, hits: NDArray[np.bool_], plan: Plan) -> Array:
    """Replicates of the share of attempts that are `hits` (bool `[n]`): an FMR or FNMR at a fixed threshold."""
    cells = _cells(attempts, plan)
    total, hit = _count(cells, plan), _count(cells[hits], plan)
    return np.array([_ratio(float(hit @ weights), float(total @ weights)) for weights in map(_weights, plan.draws())])


def thresholds(impostor: Attempts, plan: Plan, target: float) -> Array:
    """Replicates of the lowest threshold whose FMR is at most `target`, `[r]`."""
    ordered = _Ordered.of(impostor, plan)
    found = []
    for weights in map(_weights, plan.draws()):
        reached = ordered.reached(weights)
        found.append(ordered.scores[_first_beyond(reached, target)] if reached[-1] else math.nan)
    above: Array = np.nextafter(np.array(found), np.inf)
    return above


def curves(trials: Trials, plan: Plan, targets: Sequence[float]) -> Replicates:
    """Replicates of the EER and of the FNMR at each target FMR."""
    work = _Curves.of(trials, plan)
    table = np.array([work.figures(weights, targets) for weights in map(_weights, plan.draws())])
    return Replicates(table[:, 0], {target: table[:, 1 + index] for index, target in enumerate(targets)})


@dataclass(frozen=True, eq=False)
class _Ordered:
    """Scores ascending, and the pair of subjects that each is of; `lower` counts per pair those that were left out."""

    scores: Array
    cells: NDArray[np.int64]
    lower: Array

    @classmethod
    def of(cls, attempts: Attempts, plan: Plan, least: float = -math.inf) -> _Ordered:
        """All attempts, but for scores below `least`."""
        cells = _cells(attempts, plan)
        kept = attempts.scores >= least
        order = np.flatnonzero(kept)[np.argsort(attempts.scores[kept], kind="stable")]
        return cls(attempts.scores[order], cells[order], _count(cells[~kept], plan))

    def reached(self, weights: Array) -> Array:
        """The weight of what was left out, and of that and everything up to each score: `[1 + n]`."""
        return float(self.lower @ weights) + np.concatenate([[0.0], np.cumsum(weights[self.cells])])


@dataclass(frozen=True, eq=False)
class _Curves:
    """Genuine and impostor scores in order; impostor scores lower than every genuine one move no figure.

    The DET has a point just below and one just above each distinct genuine score; whatever the impostor scores between
    two of those do, FNMR stays. `genuine_counts` and `impostor_counts` `[2 levels]` are how many scores lie below these
    thresholds, `missed` `[1 + impostors]` how many genuine ones do not exceed each impostor score.
    """

    genuine: _Ordered
    impostor: _Ordered
    genuine_counts: NDArray[np.intp]
    impostor_counts: NDArray[np.intp]
    missed: NDArray[np.intp]

    @classmethod
    def of(cls, trials: Trials, plan: Plan) -> _Curves:
        genuine = _Ordered.of(trials.genuine, plan)
        impostor = _Ordered.of(trials.impostor, plan, least=float(genuine.scores[0]))
        levels = np.unique(genuine.scores)
        return cls(
            genuine,
            impostor,
            _both_sides(genuine.scores, levels),
            _both_sides(impostor.scores, levels),
            np.concatenate([[0], np.searchsorted(genuine.scores, impostor.scores, side="right")]),
        )

    def figures(self, weights: Array, targets: Sequence[float]) -> tuple[float, ...]:
        """EER, and the FNMR at each target, of one replicate; not a number where it has no attempts of a kind."""
        missed, below = self.genuine.reached(weights), self.impostor.reached(weights)
        if not (missed[-1] and below[-1]):
            return (math.nan,) * (1 + len(targets))
        fnmr = missed / missed[-1]
        equal = crossing(1.0 - below[self.impostor_counts] / below[-1], fnmr[self.genuine_counts])
        return (equal, *(float(fnmr[self.missed[_first_beyond(below, target) + 1]]) for target in targets))


def _both_sides(scores: Array, levels: Array) -> NDArray[np.intp]:
    """How many of the ordered scores lie below a threshold at, and just above, each level; `[2 levels]`."""
    sides = [np.searchsorted(scores, levels, side=side) for side in ("left", "right")]
    return np.stack(sides, axis=1).ravel()


def _first_beyond(reached: Array, target: float) -> int:
    """Number of the lowest score above which at most `target` of the weight lies; -1 if already what was left out is
    all but that."""
    return int(np.searchsorted(reached, reached[-1] * (1.0 - target) - 1e-9 * reached[-1])) - 1


def _cells(attempts: Attempts, plan: Plan) -> NDArray[np.int64]:
    """The number of each attempt's cell in the table of weights; a subject's genuine attempts have the last column."""
    column = np.where(attempts.one == attempts.other, plan.subjects, attempts.other)
    cells: NDArray[np.int64] = attempts.one.astype(np.int64) * (plan.subjects + 1) + column
    return cells


def _weights(drawn: Array) -> Array:
    """The table of weights, row by row: subject times other subject, and in the last column the subject alone."""
    return np.outer(drawn, np.append(drawn, 1.0)).ravel()


def _count(cells: NDArray[np.int64], plan: Plan) -> Array:
    """How many attempts there are per cell of the table of weights."""
    return np.bincount(cells, minlength=plan.subjects * (plan.subjects + 1)).astype(np.float64)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
