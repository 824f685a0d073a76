"""Error rates of voice under the noise of server-room fans: clean enrolment, noisy attempts, through the product's gates.

    python benchmarks/voice_in_noise.py --data DIR [--strangers DIR] [--snr 15 10 5 0] [--seconds 5]

`DIR` holds `<person>/<recording>` at 16 kHz, of which the first seconds are taken. Each person is enrolled with three clean
recordings, in ten random choices; every other recording is one attempt in the noise of each fan of
`tests/agent/biometrics/fans.py`. FTA: attempts that the gate refuses. FNMR counts accepted captures only; "refused in
all" adds the two, which is what the person meets when voice alone would be asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from agent.biometrics import CaptureRefused, Purpose, Quality, Recording, VoicePipeline

RATE, ENROLLED, CHOICES = 16_000, 3, 10
Pcm = np.ndarray


class Attempt(NamedTuple):
    person: str
    recording: int
    vector: np.ndarray | None
    quality: Quality


def recordings(folder: Path, seconds: float) -> dict[str, list[Pcm]]:
    """The first seconds of the recordings that are as long."""
    people: dict[str, list[Pcm]] = {}
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = [soundfile.read(path, dtype="int16") for path in sorted(person.iterdir())]
        people[person.name] = [pcm[: int(seconds * RATE)] for pcm, rate in found if len(pcm) >= seconds * rate]
        assert all(rate == RATE for _, rate in found), "the noise is made at 16 kHz"
    return people


def attempt(pipeline: VoicePipeline, people: dict[str, list[Pcm]], purpose: Purpose, spoil: Callable[[Pcm, int], Pcm]):
    """One attempt with every recording, spoilt by `spoil(recording, its number)`."""
    attempts, seed = [], 0
    for person, pieces in people.items():
        for index, pcm in enumerate(pieces):
            seed += 1
            try:
                sample = pipeline.extract(Recording(spoil(pcm, seed), RATE), purpose)
            except CaptureRefused as refusal:
                attempts.append(Attempt(person, index, None, refusal.quality))
            else:
                attempts.append(Attempt(person, index, sample.features.vector, sample.quality))
    return attempts


def scores(pipeline: VoicePipeline, enrolled: list[Attempt], attempts: list[Attempt], strangers: list[Attempt]):
    """Genuine scores, their qualities, impostor scores."""
    random = np.random.default_rng(1)
    genuine, qualities, impostor = [], [], []
    usable = [one for one in enrolled if one.vector is not None]
    for _ in range(CHOICES):
        for person in sorted({one.person for one in usable}):
            own = [one for one in usable if one.person == person]
            chosen = [own[index] for index in random.permutation(len(own))[:ENROLLED]]
            if len(chosen) < ENROLLED:
                continue
            template, used = tuple(one.vector for one in chosen), {one.recording for one in chosen}
            for probe in (one for one in (*attempts, *strangers) if one.vector is not None):
                if probe.person == person and probe.recording in used:
                    continue
                score = pipeline.compare(template, (probe.vector,))
                (genuine if probe.person == person else impostor).append(score)
                qualities += [probe.quality.score] if probe.person == person else []
    return np.array(genuine), np.array(qualities), np.array(impostor)


def equal_error(genuine: np.ndarray, impostor: np.ndarray) -> float:
    steps = np.unique(np.concatenate([genuine, impostor]))
    misses = np.searchsorted(np.sort(genuine), steps) / len(genuine)
    matches = 1 - np.searchsorted(np.sort(impostor), steps) / len(impostor)
    return float(50 * min(misses + matches, key=lambda total: total) if False else 100 * _cross(misses, matches))


def _cross(misses: np.ndarray, matches: np.ndarray) -> float:
    best = int(np.argmin(np.abs(misses - matches)))
    return float(misses[best] + matches[best]) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--strangers", type=Path, help="people who are impostors only, without noise")
    parser.add_argument("--snr", type=float, nargs="+", default=[15.0, 10.0, 5.0, 0.0])
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
