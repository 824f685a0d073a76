"""As the product does it: several samples enrolled through its gates, and a presentation matched with the template."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from math import comb
from typing import Any

import numpy as np

from agent.biometrics import Features, Modality, Pipeline, StraySample, Template, enrol, match
from agent.evaluation.acquiring import Acquired, Notes, Subject
from agent.evaluation.attempts import Attempt, Gathering, Trials
from agent.evaluation.progress import Watcher
from agent.evaluation.settings import OperationalSettings
from agent.evaluation.through_profile import Sealing
from agent.modalities.face import FaceOptions
from agent.modalities.fingerprint import FingerprintOptions
from agent.modalities.voice import VoiceOptions

PROTOCOL = (
    "Per repeat and subject, a random choice of samples that pass the enrolment gate makes a template; a sample that "
    "the product refuses as a stray is replaced by another. Genuine: the other samples of the subject, alone or in "
    "every combination of as many as the product takes together (at most 20 combinations, drawn at random). Impostor: "
    "samples of every other subject and stranger likewise. Samples of a combination that the gate refuses are left out "
    "of it; one with none left is a failure to acquire."
)
COMBINATIONS = 20
_WORK = "operational comparisons"
_STRAYS = 5
"""How often a stray sample is replaced before the enrolment is given up."""


@dataclass(frozen=True)
class Numbers:
    """How many samples enrol and how many are presented together."""

    enrol: int
    probe: int


@dataclass(frozen=True)
class Setback:
    """A subject that does not take part as the product has it, and why."""

    subject: str
    reason: str


@dataclass
class Counts:
    """How often was enrolled and presented, how often that failed, and how many samples were refused as strays."""

    enrolments: int = 0
    enrolment_failures: int = 0
    strays: int = 0
    presentations: int = 0
    presentation_failures: int = 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """Scores and what else is to be reported of the operational protocol."""

    trials: Trials
    wanted: Numbers
    counts: Counts
    reduced: Sequence[Setback]
    left_out: Sequence[Setback]


@dataclass(frozen=True)
class _Presentation:
    features: tuple[Features, ...] = field(repr=False)
    samples: tuple[int, ...]


def product_numbers(modality: Modality, settings: OperationalSettings) -> Numbers:
    """What the modality's options say, unless the settings say otherwise."""
    enrolled, probes = {
        Modality.FINGERPRINT: (FingerprintOptions().impressions, 1),
        Modality.FACE: (FaceOptions().enrolled_frames, FaceOptions().frames),
        Modality.VOICE: (VoiceOptions().utterances, 1),
    }[modality]
    return Numbers(settings.enrol or enrolled, settings.probe or probes)


def numbers_for(subject: Subject, wanted: Numbers, least: int) -> Numbers | None:
    """`wanted`, or as near to its proportion as the subject's samples allow; None where they allow no attempt.

    At least one sample is presented, and at least `least` make the template.
    """
    total = len(subject.acquired)
    if total >= wanted.enrol + wanted.probe:
        return wanted
    enrolled = round(total * wanted.enrol / (wanted.enrol + wanted.probe))
    enrolled = min(wanted.enrol, max(least, min(enrolled, total - 1)))
    return Numbers(enrolled, min(wanted.probe, total - enrolled)) if total > enrolled >= least else None


class Operation:
    """The protocol for one folder. Subjects are numbered in their order."""

    def __init__(
        self,
        pipeline: Pipeline[Any],
        subjects: Sequence[Subject],
        settings: OperationalSettings,
        seed: int,
        notes: Notes,
        seal: Sealing | None = None,
    ) -> None:
        self.wanted = product_numbers(pipeline.modality, settings)
        self._pipeline = pipeline
        self._seal = seal
        self._subjects = subjects
        self._repeats = settings.repeats
        self._seed = seed
        self._notes = notes
        self._counts = Counts()
        self._numbers: dict[int, Numbers] = {}
        self._reduced: list[Setback] = []
        self._left_out: list[Setback] = []
        self._failed: Counter[str] = Counter()
        self._plan()

    def run(self, watcher: Watcher) -> Outcome:
        """All attempts; raises `BiometricError`."""
        watcher.expect(_WORK, self._comparisons())
        genuine, impostor = Gathering(self.wanted.probe), Gathering(self.wanted.probe)
        for repeat, number in product(range(self._repeats), self._numbers):
            enrolled = self._enrol(number, np.random.default_rng([self._seed, repeat, number]))
            if enrolled is None:
                continue
            for attempt in self._attempts(repeat, number, *enrolled):
                (genuine if attempt.one == attempt.other else impostor).add(attempt)
                watcher.step(_WORK)
        trials = Trials(genuine.attempts(), impostor.attempts())
        return Outcome(trials, self.wanted, self._counts, self._reduced, self._left_out + self._strays())

    def _comparisons(self) -> int:
        """About how many comparisons there are."""
        everybody = sum(_presentations(len(each.acquired), self._probes(each)) for each in self._subjects)
        return self._repeats * len(self._numbers) * everybody

    def _attempts(self, repeat: int, number: int, template: Template, used: set[int]) -> Iterator[Attempt]:
        opening = None if self._seal is None else self._seal(template)
        for other, subject in enumerate(self._subjects):
            rest = [each for each in subject.acquired if each.number not in used]
            size = self._numbers[number].probe if other == number else self._probes(subject)
            groups = _groups(rest, size, np.random.default_rng([self._seed, repeat, number, other]))
            presented = [_present(group) for group in groups]
            usable = [each for each in presented if each is not None]
            self._counts.presentations += len(presented) if other == number else 0
            self._counts.presentation_failures += len(presented) - len(usable) if other == number else 0
            attempts = [self._match(template, each, number, other) for each in usable]
            if opening is not None and usable:
                opened = opening([each.features for each in usable])
                attempts = [replace(one, accepted=fits) for one, fits in zip(attempts, opened, strict=True)]
            yield from attempts

    def _plan(self) -> None:
        least = self._pipeline.samples[0]
        for index, subject in enumerate(self._subjects):
            if subject.stranger:
                continue
            numbers = numbers_for(subject, self.wanted, least)
            fit = sum(each.enrollable for each in subject.acquired)
            if numbers is None:
                self._leave_out(subject, f"{len(subject.acquired)} samples, at least {least + 1} are needed")
            elif fit < least:
                self._leave_out(subject, f"{fit} samples pass the enrolment gate, at least {least} are needed")
                self._counts.enrolments += self._repeats
                self._counts.enrolment_failures += self._repeats
            else:
                self._numbers[index] = Numbers(min(numbers.enrol, fit), numbers.probe)
                if self._numbers[index] != self.wanted:
                    self._reduced.append(Setback(subject.name, _reduction(self._numbers[index], subject, fit)))

    def _strays(self) -> list[Setback]:
        return [
            Setback(name, f"{count} of {self._repeats} enrolments failed, as the samples do not match one another")
            for name, count in self._failed.items()
        ]

    def _leave_out(self, subject: Subject, reason: str) -> None:
        self._left_out.append(Setback(subject.name, reason))

    def _enrol(self, number: int, random: np.random.Generator) -> tuple[Template, set[int]] | None:
        """A template, and the numbers of its samples; None where too many samples do not match one another."""
        fit = [each for each in self._subjects[number].acquired if each.enrollable and each.features is not None]
        order = [fit[index] for index in random.permutation(len(fit))]
        count = self._numbers[number].enrol
        chosen, spare = order[:count], order[count:]
        self._counts.enrolments += 1
        for _ in range(1 + _STRAYS):
            try:
                template = enrol(self._pipeline, [each.features for each in chosen if each.features is not None])
                return template, {each.number for each in chosen}
            except StraySample as stray:
                self._counts.strays += 1
                if not spare:
                    break
                chosen[stray.index] = spare.pop(0)
        self._counts.enrolment_failures += 1
        self._failed[self._subjects[number].name] += 1
        return None

    def _probes(self, subject: Subject) -> int:
        return min(self.wanted.probe, max(1, len(subject.acquired)))

    def _match(self, template: Template, probe: _Presentation, one: int, other: int) -> Attempt:
        started = time.process_time()
        result = match(self._pipeline, template, probe.features)
        self._notes.match_ms.append(1000.0 * (time.process_time() - started))
        return Attempt(result.score, one, other, probe.samples, result.accepted)


def _groups(samples: Sequence[Acquired], size: int, random: np.random.Generator) -> Iterator[Sequence[Acquired]]:
    """Each sample when `size` is 1; else every combination of `size`, or `COMBINATIONS` of them drawn at random."""
    size = min(size, len(samples))
    if size <= 1:
        yield from ([each] for each in samples)
    elif comb(len(samples), size) <= COMBINATIONS:
        yield from combinations(samples, size)
    else:
        seen: set[tuple[int, ...]] = set()
        while len(seen) < COMBINATIONS:
            seen.add(tuple(sorted(random.choice(len(samples), size, replace=False).tolist())))
        yield from ([samples[index] for index in chosen] for chosen in sorted(seen))


def _presentations(samples: int, size: int) -> int:
    return samples if size <= 1 else min(COMBINATIONS, comb(samples, size))


def _present(group: Sequence[Acquired]) -> _Presentation | None:
    usable = [(each.features, each.number) for each in group if each.features is not None]
    if not usable:
        return None
    return _Presentation(tuple(features for features, _ in usable), tuple(number for _, number in usable))


def _reduction(numbers: Numbers, subject: Subject, fit: int) -> str:
    return (
        f"{len(subject.acquired)} samples, {fit} fit to enrol: {numbers.enrol} enrolled and {numbers.probe} presented"
    )
