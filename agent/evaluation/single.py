"""One sample against one: every genuine and every cross-subject pair, each compared once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import Pipeline
from agent.evaluation.acquiring import Acquired, Subject
from agent.evaluation.attempts import Attempt, Attempts, Trials
from agent.evaluation.progress import Watcher

PROTOCOL = (
    "Every pair of samples of one subject (genuine) and of two subjects (impostor), the sample that comes first in the "
    "folder as the reference, each pair once; strangers with every subject, and not among themselves."
)

_WORK = "single comparisons"


def trials(pipeline: Pipeline[Any], subjects: Sequence[Subject], watcher: Watcher) -> Trials:
    """Scores of all pairs by `PROTOCOL`; subjects are numbered in their order."""
    watcher.expect(_WORK, sum(1 for _ in _genuine(subjects)) + sum(1 for _ in _impostor(subjects)))

    def compared(pair: tuple[int, int, Acquired, Acquired]) -> Attempt:
        one, other, first, second = pair
        score = pipeline.compare((_vector(first),), (_vector(second),))
        watcher.step(_WORK)
        return Attempt(score, one, other, (first.number, second.number))

    return Trials(Attempts.of(map(compared, _genuine(subjects))), Attempts.of(map(compared, _impostor(subjects))))


def _vector(acquired: Acquired) -> NDArray[np.int16]:
    if acquired.features is None:
        raise ValueError("a refused capture has no features to compare")
    return acquired.features.vector


def _genuine(subjects: Sequence[Subject]) -> Iterator[tuple[int, int, Acquired, Acquired]]:
    for number, subject in enumerate(subjects):
        if not subject.stranger:
            for first, second in combinations(subject.usable, 2):
                yield number, number, first, second


def _impostor(subjects: Sequence[Subject]) -> Iterator[tuple[int, int, Acquired, Acquired]]:
    for (one, subject), (other, another) in combinations(enumerate(subjects), 2):
        if not subject.stranger:
            for first, second in product(subject.usable, another.usable):
                yield one, other, first, second
