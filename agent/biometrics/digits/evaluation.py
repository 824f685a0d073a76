"""How often the right string is accepted at the first try, and other strings are, on isolated digits of many people.

Strings are put together from single digits, half of them with pauses of 0.1 to 0.5 s and half with none. Each recording
is read as the string that was said, as random others of its length, and as others that differ in few places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics.digits._mel import RATE
from agent.biometrics.digits._network import DIGITS, DigitNetwork
from agent.biometrics.digits.scoring import Reading, read
from agent.biometrics.digits.takes import Takes
from agent.biometrics.digits.verifying import takes_of

Sound = NDArray[np.float32]
Voices = Mapping[str, Mapping[int, Sequence[Sound]]]
"""Takes of each digit of each person: sound in -1..1 at 8 kHz."""

NEAR: Final = (1, 2, 3)
"""In how many places the near strings differ."""

_NEAR_COUNT: Final = 12
_ENROLLED: Final = 3
_TAKES_TO_ENROL: Final = 4
_LEVEL: Final = 0.05
_HISS: Final = 3e-4


@dataclass(frozen=True)
class Plan:
    """`attempts` a person, of `length` digits, each read as `others` random strings too; seeded by `seed`."""

    length: int = 6
    attempts: int = 40
    others: int = 900
    seed: int = 0
    resamples: int = 1000


@dataclass(frozen=True)
class Share:
    """`accepted` of `count`, and the 95 % interval of that share by drawing persons with replacement."""

    accepted: int
    count: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """The share, not a number of nothing."""
        return self.accepted / self.count if self.count else float("nan")


@dataclass(frozen=True)
class Outcome:
    """One way of deciding: the right string, random others, and others by the number of places in which they differ."""

    right: Share
    others: Share
    near: Mapping[int, Share]


@dataclass(frozen=True)
class Result:
    """`alone` decides without takes of the person's own; `own` with them, None where nobody has enough takes."""

    alone: Outcome
    own: Outcome | None


_Counts = dict[str, NDArray[np.int64]]
"""Accepted and tried by "right", "others" and number of places."""


def evaluate(
    network: DigitNetwork, voices: Voices, plan: Plan | None = None, on_attempt: Callable[[], None] = lambda: None
) -> Result:
    """Attempts of everybody at the shipped leeways; with fewer than four takes of a digit a person enrols none."""
    plan = plan or Plan()
    alone, own = [], []
    for index, name in enumerate(sorted(voices)):
        random = np.random.default_rng((plan.seed, index))
        without, with_own = _person(network, voices[name], plan, random, on_attempt)
        alone.append(without)
        own += [with_own] if with_own else []
    return Result(_outcome(alone, plan), _outcome(own, plan) if own else None)


def spoken(takes: Mapping[int, Sequence[Sound]], string: Sequence[int], random: np.random.Generator) -> Sound:
    """`string` put together from random takes at one loudness, with pauses or, as often, without."""
    pauses = random.uniform(0.1, 0.5, len(string)) * (random.random() < 0.5)
    parts = [np.zeros(RATE // 4, np.float32)]
    for digit, pause in zip(string, pauses, strict=True):
        take = takes[digit][int(random.integers(len(takes[digit])))]
        level = float(np.sqrt(np.mean(take**2))) + 1e-9
        parts += [take * np.float32(_LEVEL / level), np.zeros(int(pause * RATE), np.float32)]
    sound = np.concatenate([*parts, np.zeros(RATE // 4, np.float32)])
    return (sound + random.normal(0.0, _HISS, len(sound))).astype(np.float32)


def _person(
    network: DigitNetwork,
    takes: Mapping[int, Sequence[Sound]],
    plan: Plan,
    random: np.random.Generator,
    on_attempt: Callable[[], None],
) -> tuple[_Counts, _Counts | None]:
    known = [digit for digit in range(DIGITS) if len(takes.get(digit, ()))]
    enough = len(known) == DIGITS and min(len(takes[digit]) for digit in known) >= _TAKES_TO_ENROL
    own = _enrolled(network, {digit: takes[digit][::2] for digit in known}, plan, random) if enough else None
    probes = {digit: takes[digit][1::2] if enough else takes[digit] for digit in known}
    alone, with_own = _nothing(), _nothing()
    for _ in range(plan.attempts):
        said = random.choice(known, plan.length)
        strings = _strings(said, plan, random)
        reading = read(network, spoken(probes, said.tolist(), random), strings)
        scores = reading.scores()
        _count(alone, scores >= parameters.DIGITS_STRANGER.least(plan.length), strings)
        if own is not None:
            heard = scores >= parameters.DIGITS_HEARD.least(plan.length)
            sure = reading.own_scores(strings, own) >= parameters.DIGITS_OWN.least(plan.length)
            _count(with_own, heard & sure, strings)
        on_attempt()
    return alone, with_own if own is not None else None


def _enrolled(
    network: DigitNetwork, takes: Mapping[int, Sequence[Sound]], plan: Plan, random: np.random.Generator
) -> Takes:
    """Three strings, dealt so that every digit is among them, in the byte form of a template."""
    dealt = np.concatenate([random.permutation(DIGITS) for _ in range(1 + _ENROLLED * plan.length // DIGITS)])
    sides = []
    for number in range(_ENROLLED):
        string = dealt[number * plan.length :][: plan.length]
        reading: Reading = read(network, spoken(takes, string.tolist(), random), string[np.newaxis])
        sides.append(takes_of(reading, string).to_bytes())
    joined = Takes.joined(sides)
    assert joined is not None
    return joined


def _strings(said: NDArray[np.int64], plan: Plan, random: np.random.Generator) -> NDArray[np.int64]:
    """What was said first, then strings that differ in one, two and three places, then random ones."""
    near = np.repeat(said[np.newaxis], _NEAR_COUNT * len(NEAR), axis=0)
    for row, changed in zip(near, np.repeat(NEAR, _NEAR_COUNT), strict=True):
        places = random.permutation(len(said))[:changed]
        row[places] = (row[places] + random.integers(1, DIGITS, len(places))) % DIGITS
    others = random.integers(0, DIGITS, (plan.others, len(said)))
    return np.concatenate([said[np.newaxis], near, others[(others != said).any(axis=1)]])


def _nothing() -> _Counts:
    return {kind: np.zeros(2, np.int64) for kind in ("right", "others", *map(str, NEAR))}


def _count(counts: _Counts, accepted: NDArray[np.bool_], strings: NDArray[np.int64]) -> None:
    groups = {"right": accepted[:1], "others": accepted[1 + _NEAR_COUNT * len(NEAR) :]}
    groups |= {str(n): accepted[1 + _NEAR_COUNT * at :][:_NEAR_COUNT] for at, n in enumerate(NEAR)}
    assert len(strings) == len(accepted)
    for kind, group in groups.items():
        counts[kind] += (int(group.sum()), len(group))


def _outcome(people: Sequence[_Counts], plan: Plan) -> Outcome:
    shares = {kind: _share(np.stack([counts[kind] for counts in people]), plan) for kind in people[0]}
    return Outcome(shares["right"], shares["others"], {n: shares[str(n)] for n in NEAR})


def _share(counts: NDArray[np.int64], plan: Plan) -> Share:
    random = np.random.default_rng(plan.seed)
    drawn = counts[random.integers(0, len(counts), (plan.resamples, len(counts)))].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / np.maximum(drawn[:, 1], 1), [2.5, 97.5])
    accepted, tried = counts.sum(axis=0)
    return Share(int(accepted), int(tried), float(low), float(high))
