"""What a protocol gives: scores, and between whom each attempt was."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Indices = NDArray[np.int32]
NOBODY = -1
"""Fills up `Attempts.samples` where an attempt has fewer samples than another."""


@dataclass(frozen=True)
class Attempt:
    """One comparison: subjects by number, the numbers of the samples whose quality counts, and the decision."""

    score: float
    one: int
    other: int
    samples: tuple[int, ...]
    accepted: bool = False


@dataclass(frozen=True, eq=False)
class Attempts:
    """Comparisons of one kind, genuine or impostor.

    `scores` float64 `[n]`, higher is more alike; `one` and `other` int32 `[n]` number the subjects of the first and the
    second part (equal for genuine attempts); `samples` int32 `[n, k]` number the samples whose quality bears on the
    attempt, filled up with `NOBODY`; `accepted` bool `[n]` is the product's own decision where one was made.
    """

    scores: Scores = field(repr=False)
    one: Indices = field(repr=False)
    other: Indices = field(repr=False)
    samples: Indices = field(repr=False)
    accepted: NDArray[np.bool_] = field(repr=False)

    @classmethod
    def of(cls, attempts: Iterable[Attempt], width: int = 2) -> Attempts:
        """The attempts, of at most `width` samples each, as arrays; there may be none."""
        gathered = Gathering(width)
        for each in attempts:
            gathered.add(each)
        return gathered.attempts()

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def subject_pairs(self) -> int:
        """How many different pairs of subjects, in whatever order, there are attempts between."""
        pairs = np.sort(np.stack([self.one, self.other]), axis=0)
        return len(np.unique(pairs, axis=1).T)


class Gathering:
    """Attempts as they come, in a few bytes each."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._scores, self._accepted = array("d"), array("b")
        self._one, self._other, self._samples = array("i"), array("i"), array("i")

    def add(self, attempt: Attempt) -> None:
        """Append one."""
        self._scores.append(attempt.score)
        self._one.append(attempt.one)
        self._other.append(attempt.other)
        self._samples.extend(attempt.samples + (NOBODY,) * (self._width - len(attempt.samples)))
        self._accepted.append(attempt.accepted)

    def attempts(self) -> Attempts:
        """What was added so far."""
        return Attempts(
            scores=np.array(self._scores, np.float64),
            one=np.array(self._one, np.int32),
            other=np.array(self._other, np.int32),
            samples=np.array(self._samples, np.int32).reshape(-1, self._width),
            accepted=np.array(self._accepted, np.bool_),
        )


@dataclass(frozen=True, eq=False)
class Trials:
    """Genuine and impostor attempts of one protocol."""

    genuine: Attempts
    impostor: Attempts
