"""Error rates of voice under the noise of server-room fans: clean enrolment, noisy attempts, the product's gates.

    python benchmarks/voice_in_noise.py --data DIR [--strangers DIR] [--snr 15 10 5 0] [--seconds 5]

`DIR` holds `<person>/<recording>` at 16 kHz, of which the first seconds are taken. Each person is enrolled with three
clean recordings, in ten random choices; every other recording is one attempt in the noise of each fan of
`tests/agent/biometrics/fans.py`. FTA: attempts that the gate refuses. FNMR counts accepted captures only; "refused in
all" adds the two, which is what the person meets when voice alone would be asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from agent.biometrics import CaptureRefused, Purpose, Quality, Recording, VoicePipeline
from agent.evaluation.rates import eer, fmr, fnmr, threshold_at

RATE, ENROLLED, CHOICES = 16_000, 3, 10
Pcm = np.ndarray
People = dict[str, list[Pcm]]


class Attempt(NamedTuple):
    person: str
    recording: int
    vector: np.ndarray | None
    quality: Quality


class Scored(NamedTuple):
    """Scores of genuine attempts, the quality of each one's capture, scores of impostor attempts."""

    genuine: np.ndarray
    quality: np.ndarray
    impostor: np.ndarray


def recordings(folder: Path, seconds: float) -> People:
    """The first seconds of the recordings that are as long."""
    people: People = {}
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = [soundfile.read(path, dtype="int16") for path in sorted(person.iterdir())]
        people[person.name] = [pcm[: int(seconds * RATE)] for pcm, rate in found if len(pcm) >= seconds * rate]
        assert all(rate == RATE for _, rate in found), "the noise is made at 16 kHz"
    return people


def attempt(
    pipeline: VoicePipeline, people: People, purpose: Purpose, spoil: Callable[[Pcm, int], Pcm]
) -> list[Attempt]:
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


def scores(
    pipeline: VoicePipeline, enrolled: list[Attempt], attempts: list[Attempt], strangers: list[Attempt]
) -> Scored:
    """Every attempt against the templates of ten choices of recordings."""
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
    return Scored(np.array(genuine), np.array(qualities), np.array(impostor))


def report(name: str, attempts: list[Attempt], found: Scored, accept: float) -> None:
    """One line of rates in percent."""
    refused = 100 * sum(one.vector is None for one in attempts) / len(attempts)
    measured = np.median([one.quality.measures.get("snr_db", 0.0) for one in attempts])
    line = f"{name:24s} snr read {measured:5.1f}  FTA {refused:5.1f}"
    if not found.genuine.size:
        print(line, " nothing was accepted", flush=True)
        return
    missed, matched = (100 * rate for rate in (fnmr(found.genuine, accept), fmr(found.impostor, accept)))
    spread = f"genuine {found.genuine.size:4d} (median {np.median(found.genuine):.3f})"
    spread += f"  impostor {found.impostor.size} (largest {found.impostor.max():.3f})"
    rates = f"EER {100 * eer(found.genuine, found.impostor):5.2f}  at {accept:g}: FNMR {missed:5.2f}, FMR {matched:.3f}"
    refused_in_all = refused + missed * (1 - refused / 100)
    lowest = threshold_at(found.impostor, 0.001)
    print(f"{line}  {spread}  {rates}  refused in all {refused_in_all:5.1f}  FMR 0.1 % from {lowest:.3f}", flush=True)


def report_discards(found: list[Scored], accept: float) -> None:
    """FNMR over all conditions when attempts of the lowest quality are left out."""
    genuine, quality = (np.concatenate([each[index] for each in found]) for index in (0, 1))
    order = np.argsort(quality, kind="stable")
    for share in (0.0, 0.1, 0.2, 0.3, 0.4):
        kept = genuine[order[int(share * len(order)) :]]
        print(f"without the worst {100 * share:3.0f} %: FNMR {100 * fnmr(kept, accept):.2f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--strangers", type=Path, help="people who are impostors only")
    parser.add_argument("--snr", type=float, nargs="+", default=[15.0, 10.0, 5.0, 0.0])
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    from tests.agent.biometrics.fans import FANS, in_noise

    pipeline, clean = VoicePipeline(), lambda pcm, _: pcm
    accept = pipeline.threshold.accept
    people, others = (
        recordings(folder, arguments.seconds) if folder else {} for folder in (arguments.data, arguments.strangers)
    )
    enrolled = attempt(pipeline, people, Purpose.ENROL, clean)
    print(f"{len(people)} people, {len(others)} strangers, {arguments.seconds:g} s; rates in percent")
    report("quiet", *_tried(pipeline, enrolled, people, others, clean), accept)
    pooled = []
    for snr in arguments.snr:
        for name, fan in FANS.items():
            attempts, found = _tried(pipeline, enrolled, people, others, partial(in_noise_of, in_noise, fan, snr))
            report(f"{name}, {snr:g} dB", attempts, found, accept)
            pooled.append(found)
    report_discards(pooled, accept)


def in_noise_of(mix: Callable[..., Pcm], fan: object, snr: float, pcm: Pcm, seed: int) -> Pcm:
    return mix(pcm, fan, snr, seed)


def _tried(
    pipeline: VoicePipeline, enrolled: list[Attempt], people: People, others: People, spoil: Callable[[Pcm, int], Pcm]
) -> tuple[list[Attempt], Scored]:
    attempts, strangers = (attempt(pipeline, group, Purpose.VERIFY, spoil) for group in (people, others))
    return attempts, scores(pipeline, enrolled, attempts, strangers)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
