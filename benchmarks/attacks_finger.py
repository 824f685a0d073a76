"""Attacks on the fingerprint through the shipped pipeline: an earlier image, disguised; another person's finger.

One person at a time is enrolled with four random impressions; those and further ones are the past, and one impression
is left out and presented as the genuine try. APCER counts attacks that match and are not refused as replays, BPCER
genuine impressions that match and are refused (ISO/IEC 30107-3 terms, of a simulation).

    python benchmarks/attacks_finger.py --data ../shared/data [--count 200] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from attack_samples import Report, grey, options, subjects
from numpy.typing import NDArray

from agent.biometrics import Features, StraySample
from agent.modalities._own import OwnPipeline
from agent.pipelines import Examined
from hal import FingerprintImage
from simulators.attacks.finger import DISGUISES

SETS = ["fingerprint/FVC2002_DB1_B", "fingerprint/FVC2004_DB1_B"]
ENROLLED = 4


@dataclass(frozen=True)
class Person:
    """Impressions that the gate accepted, with their features."""

    images: list[NDArray[np.uint8]]
    features: list[Features]


@dataclass(frozen=True)
class Sitting:
    """A template and what is remembered, and the impression that was left out."""

    template: bytes
    past: list[bytes]
    left_out: int


class Bench:
    """Presentations to one pipeline."""

    def __init__(self, pipeline: OwnPipeline, rng: np.random.Generator) -> None:
        self.pipeline, self.rng = pipeline, rng

    def person(self, paths: Sequence[Path]) -> Person:
        images = [grey(path) for path in paths]
        found = [(image, self.examine(image).features) for image in images]
        kept = [(image, one) for image, one in found if isinstance(one, Features)]
        return Person([image for image, _ in kept], [one for _, one in kept])

    def sitting(self, person: Person) -> Sitting:
        """Random impressions, drawn anew when they do not match one another."""
        while True:
            order = [int(index) for index in self.rng.permutation(len(person.images))]
            try:
                template = self.pipeline.enrol([person.features[index] for index in order[:ENROLLED]])
            except StraySample:
                continue
            past = [self.pipeline.digest(person.features[index]) for index in order[:-1]]
            return Sitting(template, past, order[-1])

    def examine(self, image: NDArray[np.uint8]) -> Examined:
        return self.pipeline.examine([FingerprintImage(image, 500, 0, 0)], "challenge")

    def matches(self, sitting: Sitting, features: Any) -> bool:
        return features is not None and self.pipeline.match(sitting.template, features).accepted

    def replayed(self, sitting: Sitting, features: Any) -> bool:
        return self.pipeline.replayed(sitting.past, features)


def main() -> None:
    chosen = options(__doc__, SETS)
    bench = Bench(OwnPipeline.of("fingerprint"), np.random.default_rng(chosen.seed))
    report = Report("attacks_finger", chosen.seed, chosen.sets)
    people = [bench.person(paths) for name in chosen.sets for _, paths in subjects(chosen.data, name)]
    people = [one for one in people if len(one.images) > ENROLLED]
    for number in range(chosen.count):
        person, other = people[number % len(people)], people[(number + 1 + number // len(people)) % len(people)]
        sitting = bench.sitting(person)
        genuine = person.features[sitting.left_out]
        matches = bench.matches(sitting, genuine)
        report.of("genuine: not matched").note(not matches)
        if matches:
            report.of("genuine: BPCER").note(bench.replayed(sitting, genuine))
        stranger = other.features[int(bench.rng.integers(len(other.features)))]
        report.of("another person's finger: APCER").note(
            other is not person and bench.matches(sitting, stranger) and not bench.replayed(sitting, stranger)
        )
        resubmit(report, bench, person, sitting)
    report.show(chosen.json)


def resubmit(report: Report, bench: Bench, person: Person, sitting: Sitting) -> None:
    """One past image in each disguise; what matches nobody needs no other defence."""
    known = [index for index in range(len(person.images)) if index != sitting.left_out]
    for name, change in DISGUISES.items():
        image = change(person.images[known[int(bench.rng.integers(len(known)))]], bench.rng)
        features = bench.examine(image).features
        matched = bench.matches(sitting, features)
        passed = matched and not bench.replayed(sitting, features)
        report.of(f"past image, {name}: APCER").note(passed)
        report.of("past images: matched, and would pass unremembered").note(matched)
    # What is found must be the copy and not the disguise: a new impression in the heaviest of them passes.
    fresh = bench.examine(DISGUISES["everything"](person.images[sitting.left_out], bench.rng)).features
    if bench.matches(sitting, fresh):
        report.of("new image, everything: BPCER").note(bench.replayed(sitting, fresh))


if __name__ == "__main__":
    main()
