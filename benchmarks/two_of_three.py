"""Two of three through a sealed profile: chimeric people, put together of subjects of different sets.

No set has face, voice and finger of the same people, so errors of different modalities are independent here by
construction, and real people's may not be. A person is enrolled once per repeat (5 pictures, 3 utterances, 4
impressions) and presents 3, 1 and 1 others. Impostors differ from the target in every modality, know pepper and shares
and have the three candidates. Intervals: percentile bootstrap over the chimeric people, which share subjects.

    python benchmarks/two_of_three.py --data ../shared/data --model mobilefacenet_128.onnx [--repeats 5] [--json FILE]

Without --model it is the shipped face network.
"""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from profile_samples import acquired, embedding, groups

from agent.biometrics import Modality, enrol, match
from agent.biometrics.errors import StraySample
from agent.profile.commitment import bind, candidates, parameters_for

ENROLLED = {Modality.FACE: 5, Modality.VOICE: 3, Modality.FINGERPRINT: 4}
PRESENTED = {Modality.FACE: 3, Modality.VOICE: 1, Modality.FINGERPRINT: 1}
CHOICES = [*combinations(Modality, 2), tuple(Modality)]
BOUND = {Modality.FACE, Modality.VOICE}


@dataclass
class Enrolled:
    """A chimeric person's profile, and what is left of their samples to present."""

    root: bytes
    shares: Any
    secret: bytes
    template: Any
    left: dict[Modality, list[Any]]


def enrolled(people: Any, pipelines: Any, codes: Any, person: dict[Modality, int], random: Any) -> Enrolled:
    chosen, left = {}, {}
    for modality, number in person.items():
        samples = people[modality][number]
        order = [samples[index] for index in random.permutation(len(samples))]
        chosen[modality], left[modality] = order[: ENROLLED[modality]], order[ENROLLED[modality] :]
    bound = {name.value: embedding(pipelines[name], chosen[name]) for name in BOUND}
    secret = random.bytes(32)
    root, shares = bind(bound, [Modality.FINGERPRINT.value], codes, secret, secret, random.bytes)
    template = enrol(pipelines[Modality.FINGERPRINT], chosen[Modality.FINGERPRINT])
    return Enrolled(root, shares, secret, template, left)


@dataclass
class Shown:
    """What is presented to a profile: the embeddings of bound modalities, and an impression."""

    target: Enrolled
    samples: dict[Modality, Any]
    pipelines: Any
    codes: Any

    def opens(self, choice: tuple[Modality, ...]) -> bool:
        """Whether the modalities of the choice open the profile; the finger is matched where that decides it."""
        bound = tuple(name for name in choice if name in BOUND)
        without = len(bound) > 1 and self._opens(bound, False)
        if Modality.FINGERPRINT not in choice:
            return without
        released = self._opens(bound, True)
        return released if released == without or self._finger_matches else without

    def _opens(self, bound: tuple[Modality, ...], finger: bool) -> bool:
        released = {Modality.FINGERPRINT.value} if finger else set()
        probes = {name.value: self._probes[name] for name in bound}
        secret = self.target.secret
        found = candidates(self.target.shares, probes, released, self.codes, secret, secret)
        return any(each.root == self.target.root for each in found)

    @cached_property
    def _probes(self) -> dict[Modality, Any]:
        return {name: embedding(self.pipelines[name], self.samples[name]) for name in BOUND}

    @cached_property
    def _finger_matches(self) -> bool:
        name = Modality.FINGERPRINT
        return match(self.pipelines[name], self.target.template, self.samples[name]).accepted


def interval(errors: dict[int, list[bool]], random: Any) -> tuple[float, float]:
    keys = list(errors)
    draws = [
        np.concatenate([errors[keys[i]] for i in random.integers(0, len(keys), len(keys))]).mean() for _ in range(1000)
    ]
    return float(np.percentile(draws, 2.5)), float(np.percentile(draws, 97.5))


Errors = dict[Any, dict[int, list[bool]]]


def attempts(targets: dict[int, Enrolled], chimeras: Any, random: Any) -> Any:
    """Target, whether genuine, and what is shown: four presentations by the person, one by each stranger."""
    for number, target in targets.items():
        for other, presenter in targets.items():
            if number != other and any(chimeras[number][name] == chimeras[other][name] for name in Modality):
                continue
            for _ in range(4 if number == other else 1):
                samples = {name: next(groups(presenter.left[name], PRESENTED[name], 1, random)) for name in Modality}
                yield number, number == other, target, samples


def enrolments(people: Any, pipelines: Any, codes: Any, chimeras: Any, repeat: int) -> dict[int, Enrolled]:
    """Every chimeric person whose impressions match one another."""
    targets: dict[int, Enrolled] = {}
    for number, person in enumerate(chimeras):
        with suppress(StraySample):
            targets[number] = enrolled(people, pipelines, codes, person, np.random.default_rng([repeat, number]))
    return targets


def read(data: Path, model: Path | None, random: Any) -> tuple[Any, Any]:
    """Pipelines, and the samples of everybody who has enough, by modality."""
    faces = [data / "face" / name for name in ("celeb24", "orl", "caltech_faces_easy")]
    sets: list[Any] = [
        (Modality.FINGERPRINT, [data / "fingerprint" / f"FVC{year}_DB1_B" for year in (2002, 2004)], []),
        (Modality.FACE, faces, [f"face.model={model}"] if model else []),
        (Modality.VOICE, [data / "voice/librispeech"], ["voice.seconds=3"]),
    ]
    pipelines, people = {}, {}
    for modality, folders, settings in sets:
        pipelines[modality], found = acquired(modality, folders, settings)
        least = ENROLLED[modality] + PRESENTED[modality]
        people[modality] = [each for each in found if len(each) >= least]
        random.shuffle(people[modality])
    return pipelines, people


def figures(errors: dict[int, list[bool]], random: Any) -> dict[str, Any]:
    every = np.concatenate(list(errors.values()))
    return {"errors": int(every.sum()), "of": len(every), "interval": interval(errors, random)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    random = np.random.default_rng(1)
    pipelines, people = read(given.data, given.model, random)
    codes = {name.value: parameters_for(pipelines[name].code) for name in BOUND}
    count = min(given.people, len(people[Modality.FACE]))
    chimeras = [{name: number % len(people[name]) for name in Modality} for number in range(count)]
    errors: dict[bool, Errors] = {kind: {choice: {} for choice in CHOICES} for kind in (True, False)}
    for repeat in range(given.repeats):
        targets = enrolments(people, pipelines, codes, chimeras, repeat)
        for number, genuine, target, samples in attempts(targets, chimeras, random):
            shown = Shown(target, samples, pipelines, codes)
            for choice in CHOICES:
                errors[genuine][choice].setdefault(number, []).append(shown.opens(choice) is not genuine)
    report = {
        "+".join(choice): {
            "fnmr": figures(errors[True][choice], random),
            "fmr": figures(errors[False][choice], random),
        }
        for choice in CHOICES
    }
    print(json.dumps({"people": count, **report}, indent=2))
    if given.json:
        given.json.write_text(json.dumps({"people": count, **report}, indent=2) + "\n")


if __name__ == "__main__":
    main()
