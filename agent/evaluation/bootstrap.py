"""Intervals by the bootstrap over subjects: pairs of one person are not independent, persons are.

Each replicate draws as many subjects as there are, with replacement. A genuine attempt then counts as often as its
subject was drawn, an impostor attempt as often as the product of both (Bolle, Ratha, Pankanti 2004, for the subjects;
both sides drawn, as pairs share people on both). Pairs between copies of one subject are no impostor attempts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.evaluation.attempts import Attempts, Trials
from agent.evaluation.rates import crossing

Array = NDArray[np.float64]
Interval = tuple[float, float]
_CELLS = 4_000_000
"""Weights held at once: bounds memory to some 100 MB."""
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
    total = _table(attempts, np.ones(len(attempts), bool), plan.subjects)
    hit = _table(attempts, hits, plan.subjects)
    genuine = bool((attempts.one == attempts.other).all())

    def weigh(table: Array, drawn: Array) -> float:
        return _weigh(table, drawn, genuine=genuine)

    return np.array([_ratio(weigh(hit, drawn), weigh(total, drawn)) for drawn in plan.draws()])


def curves(trials: Trials, plan: Plan, targets: Sequence[float]) -> Replicates:
    """Replicates of the EER and of the FNMR at each target FMR.

    Only scores between the lowest genuine and the highest impostor one are sorted anew: the others move no figure.
    """
    work = _Overlap.of(trials, plan.subjects)
    rows: list[tuple[float, ...]] = []
    for drawn in _stacked(plan, work.width):
        rows += work.figures(drawn, targets)
    table = np.array(rows)
    return Replicates(table[:, 0], {target: table[:, 1 + index] for index, target in enumerate(targets)})


def thresholds(impostor: Attempts, plan: Plan, target: float) -> Array:
    """Replicates of the lowest threshold whose FMR is at most `target`, `[r]`."""
    order = np.argsort(-impostor.scores, kind="stable")
    one, other, scores = impostor.one[order], impostor.other[order], impostor.scores[order]
    found: list[float] = []
    for drawn in _stacked(plan, len(scores)):
        reached = np.cumsum(drawn[:, one] * drawn[:, other], axis=1)
        allowed = reached[:, -1:] * target + 1e-9
        first = np.argmax(reached > allowed, axis=1)
        found += np.where(reached[:, -1] > 0, np.nextafter(scores[first], np.inf), np.nan).tolist()
    return np.array(found)


@dataclass(frozen=True, eq=False)
class _Overlap:
    """The scores that matter, ascending, and the whole number of attempts per pair of subjects.

    `levels` `[k]` are the distinct scores; `ends` `[k]` where each ends in the sorted order.
    """

    one: NDArray[np.int32]
    other: NDArray[np.int32]
    is_genuine: NDArray[np.bool_]
    levels: Array
    ends: NDArray[np.intp]
    low_impostor: Array
    all_genuine: Array
    all_impostor: Array

    @property
    def width(self) -> int:
        return max(1, len(self.is_genuine))

    @classmethod
    def of(cls, trials: Trials, subjects: int) -> _Overlap:
        genuine, impostor = trials.genuine, trials.impostor
        least, most = genuine.scores.min(), impostor.scores.max()
        near = genuine.scores <= most
        high = impostor.scores >= least
        scores = np.concatenate([genuine.scores[near], impostor.scores[high]])
        order = np.argsort(scores, kind="stable")
        levels, first = np.unique(scores[order], return_index=True)
        one = np.concatenate([genuine.one[near], impostor.one[high]])[order]
        other = np.concatenate([genuine.other[near], impostor.other[high]])[order]
        is_genuine = np.concatenate([np.ones(near.sum(), bool), np.zeros(high.sum(), bool)])[order]
        return cls(
            one,
            other,
            is_genuine,
            levels,
            np.append(first[1:], len(scores))[: len(levels)] - 1,
            _table(impostor, ~high, subjects),
            _table(genuine, np.ones(len(genuine), bool), subjects),
            _table(impostor, np.ones(len(impostor), bool), subjects),
        )

    def figures(self, drawn: Array, targets: Sequence[float]) -> list[tuple[float, ...]]:
        """EER, then the FNMR per target, for each row of `drawn` `[replicate, subject]`."""
        once = drawn[:, self.one]
        weights = np.where(self.is_genuine, once, once * drawn[:, self.other])
        missed = np.cumsum(np.where(self.is_genuine, weights, 0.0), axis=1)[:, self.ends]
        below = np.cumsum(np.where(self.is_genuine, 0.0, weights), axis=1)[:, self.ends]
        return [self._of_one(replicate, missed[row], below[row], targets) for row, replicate in enumerate(drawn)]

    def _of_one(self, drawn: Array, missed: Array, below: Array, targets: Sequence[float]) -> tuple[float, ...]:
        """Figures of one replicate; `missed` and `below` `[k]` are weights of the scores up to each level."""
        genuine = _weigh(self.all_genuine, drawn, genuine=True)
        impostor = _weigh(self.all_impostor, drawn, genuine=False)
        if not (genuine and impostor):
            return (np.nan,) * (1 + len(targets))
        if not self.levels.size:
            return (0.0,) * (1 + len(targets))
        start = _weigh(self.low_impostor, drawn, genuine=False)
        fmr = np.maximum(0.0, 1.0 - (start + np.concatenate([[0.0], below])) / impostor)
        fnmr = np.concatenate([[0.0], missed]) / genuine
        return (crossing(fmr, fnmr), *(float(fnmr[np.argmax(fmr <= target + 1e-12)]) for target in targets))


def _stacked(plan: Plan, width: int) -> Iterator[Array]:
    """The draws in portions whose weights fit into memory."""
    portion = max(1, _CELLS // width)
    rows: list[Array] = []
    for drawn in plan.draws():
        rows.append(drawn)
        if len(rows) == portion:
            yield np.stack(rows)
            rows = []
    if rows:
        yield np.stack(rows)


def _table(attempts: Attempts, chosen: NDArray[np.bool_], subjects: int) -> Array:
    """How many of the chosen attempts there are per pair of subjects, `[subjects, subjects]`."""
    cell = attempts.one[chosen].astype(np.int64) * subjects + attempts.other[chosen]
    return np.bincount(cell, minlength=subjects * subjects).reshape(subjects, subjects).astype(np.float64)


def _weigh(table: Array, drawn: Array, *, genuine: bool) -> float:
    return float(table.diagonal() @ drawn) if genuine else float(drawn @ table @ drawn)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
