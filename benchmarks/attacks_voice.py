"""Attacks on the voice through the shipped pipeline: old answers, spliced digits, synthetic speech, other people.

A person of a set of isolated digits is enrolled with answers to three challenges. The past is these and ten further
answers. Genuine tries and spliced answers are made of takes that are used for nothing else. APCER counts attacks that
match, with the digits that were asked for where the pipeline checks them, and are not refused as replayed or joined;
BPCER genuine answers that match and are refused (ISO/IEC 30107-3 terms, of a simulation).

    python benchmarks/attacks_voice.py --data ../shared/data [--count 200] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from attack_samples import RATE, Report, options, pcm, sound, subjects
from numpy.typing import NDArray

from agent.biometrics import StraySample
from agent.modalities._own import OwnPipeline
from agent.modalities.voice import Utterance
from agent.pipelines import Examined
from simulators.attacks import voice
from simulators.personas import shipped_personas

SETS = ["voice/fsdd"]
LENGTH = 6
ENROLLED = 3
EARLIER = 10
UNKNOWN_TAKES = 0.35
"""Share of each digit's takes that only splices from elsewhere use."""

Sound = NDArray[np.float64]
Takes = Mapping[int, Sequence[Sound]]


@dataclass(frozen=True)
class Answer:
    """What was said, as the microphone heard it, and where each digit lies."""

    digits: str
    sound: Sound
    bounds: list[tuple[int, int]]


@dataclass(frozen=True)
class Person:
    """A template, the answers that are remembered and their digests, and takes of which the node never heard."""

    template: bytes
    answers: list[Answer]
    past: list[bytes]
    fresh: Takes
    unknown: Takes


class Bench:
    """Presentations to one pipeline; where its captures take the digits that were asked for, they are told."""

    def __init__(self, pipeline: OwnPipeline, rng: np.random.Generator) -> None:
        self.pipeline, self.rng = pipeline, rng
        self.asks = "digits" in {one.name for one in fields(Utterance)}

    def examine(self, heard: Sound, digits: str) -> Examined:
        asked: dict[str, Any] = {"digits": digits} if self.asks else {}
        utterance = Utterance(pcm=pcm(heard), rate=RATE, overflow=False, **asked)
        return self.pipeline.examine([utterance], "challenge")

    def passes(self, person: Person, heard: Sound, digits: str) -> tuple[bool, bool]:
        """Whether it matches, and whether it is refused all the same."""
        features = self.examine(heard, digits).features
        if features is None or not self.pipeline.match(person.template, features).accepted:
            return False, False
        return True, self.pipeline.replayed(person.past, features)

    def digits(self) -> str:
        return "".join(str(digit) for digit in self.rng.permutation(10)[:LENGTH])

    def answer(self, digits: str, takes: Mapping[int, Iterator[Sound]]) -> Answer:
        heard, bounds = voice.genuine([next(takes[int(digit)]) for digit in digits], self.rng)
        return Answer(digits, heard, bounds)

    def person(self, takes: Mapping[int, Sequence[Sound]]) -> Person:
        """Split the takes, enrol, and answer earlier challenges, with each take once as far as they suffice."""
        split = {digit: max(1, int(UNKNOWN_TAKES * len(some))) for digit, some in takes.items()}
        mixed = {digit: [some[i] for i in self.rng.permutation(len(some))] for digit, some in takes.items()}
        unknown = {digit: some[: split[digit]] for digit, some in mixed.items()}
        fresh = {digit: some[split[digit] : 2 * split[digit]] for digit, some in mixed.items()}
        heard = {digit: cycle(some[2 * split[digit] :] or some) for digit, some in mixed.items()}
        answers = [self.answer(self.digits(), heard) for _ in range(ENROLLED + EARLIER)]
        examined = [(one, self.examine(one.sound, one.digits).features) for one in answers]
        known = [features for _, features in examined if features is not None]
        taken = [one for one, features in examined if features is not None]
        return Person(self._template(known), taken, [self.pipeline.digest(one) for one in known], fresh, unknown)

    def _template(self, known: list[Any]) -> bytes:
        while True:
            chosen = self.rng.permutation(len(known))[:ENROLLED]
            try:
                return self.pipeline.enrol([known[index] for index in chosen])
            except StraySample:
                continue


def takes_of(paths: Sequence[Path]) -> dict[int, list[Sound]]:
    found: dict[int, list[Sound]] = {}
    for path in paths:
        found.setdefault(int(path.stem[0]), []).append(sound(path))
    return found


def main() -> None:
    chosen = options(__doc__, SETS)
    bench = Bench(OwnPipeline.of("voice"), np.random.default_rng(chosen.seed))
    report = Report("attacks_voice", chosen.seed, chosen.sets)
    everybody = [takes_of(paths) for name in chosen.sets for _, paths in subjects(chosen.data, name)]
    people = [bench.person(takes) for takes in everybody]
    for number in range(chosen.count):
        person, other = people[number % len(people)], people[(number + 1) % len(people)]
        genuine(report, bench, person)
        for species, heard, digits in attacks(bench, person, other, number):
            matched, refused = bench.passes(person, heard, digits)
            report.of(f"{species}: APCER").note(matched and not refused)
    print("the digits are checked" if bench.asks else "this pipeline does not check the digits", flush=True)
    report.show(chosen.json)


def genuine(report: Report, bench: Bench, person: Person) -> None:
    """An answer of takes that the node has not heard."""
    digits = bench.digits()
    drawn = {digit: iter([some[int(bench.rng.integers(len(some)))]]) for digit, some in person.fresh.items()}
    matched, refused = bench.passes(person, bench.answer(digits, drawn).sound, digits)
    report.of("genuine: not matched").note(not matched)
    if matched:
        report.of("genuine: BPCER").note(refused)


def attacks(bench: Bench, person: Person, other: Person, number: int) -> Iterator[tuple[str, Sound, str]]:
    """Species, what is heard, and the digits that were asked for."""
    rng, asked = bench.rng, bench.digits()
    old = person.answers[int(rng.integers(len(person.answers)))]
    for name, change in voice.DISGUISES.items():
        yield f"old answer injected, {name}", change(old.sound, rng), asked
    yield "old answer by loudspeaker", voice.played_back(old.sound, rng), asked
    yield "old answer by telephone and loudspeaker", voice.telephone_played_back(old.sound, rng), asked
    for how in voice.SPLICES:
        yield f"digits of old answers joined, {how}", voice.spliced(cuts(bench, person, asked), rng, how), asked
        unknown = [person.unknown[int(d)][int(rng.integers(len(person.unknown[int(d)])))] for d in asked]
        yield f"digits of other recordings joined, {how}", voice.spliced(unknown, rng, how), asked
    personas = shipped_personas()
    spoken, _ = personas[number % len(personas)].say(asked, number)
    yield "synthetic voice, right digits", spoken / 32768.0, asked
    theirs = {digit: iter([some[int(rng.integers(len(some)))]]) for digit, some in other.fresh.items()}
    yield "another person, right digits", bench.answer(asked, theirs).sound, asked


def cuts(bench: Bench, person: Person, asked: str) -> list[Sound]:
    """The digits asked for, each cut out of some earlier answer."""
    places: dict[str, list[Sound]] = {}
    for answer in person.answers:
        for digit, (start, end) in zip(answer.digits, answer.bounds, strict=True):
            places.setdefault(digit, []).append(answer.sound[start:end])
    return [places[digit][int(bench.rng.integers(len(places[digit])))] for digit in asked if digit in places]


if __name__ == "__main__":
    main()
