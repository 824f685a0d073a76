"""Error rates of the shipped parameters on a folder of real samples, in operational form.

Each subject is enrolled with a few random captures and every other capture of the set is presented once, through the
same quality gates, templates and matchers as on a node. Captures that the gate refuses count as failures to acquire.

    python benchmarks/evaluate_matching.py --data ../shared/data [--set voice/librispeech ...] [--repeats 5]
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soundfile

from agent.biometrics import CaptureRefused, Features, Modality, Pipelines, Purpose, Quality, Recording
from agent.biometrics.parameters import SAMPLES_MINIMUM, THRESHOLDS
from agent.biometrics.template import Template
from hal import FingerprintImage, Frame

ENROL = {Modality.FINGERPRINT: 4, Modality.FACE: 3, Modality.VOICE: 3}
IMPOSTORS_FROM = {
    "fingerprint/FVC2002_DB1_B": ["fingerprint/FVC2004_DB1_B"],
    "fingerprint/FVC2004_DB1_B": ["fingerprint/FVC2002_DB1_B"],
    "voice/librispeech": ["voice/librispeech_cohort"],
}
SMALL_FACES = {"face/orl": (3.0, 0.0), "face/celeb24": (2.0, 0.3)}
"""Enlargement and border share for sets whose pictures are far smaller than any camera's."""


def fingerprints(folder: Path) -> Iterator[Any]:
    for path in sorted(folder.glob("*.png")):
        yield FingerprintImage(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), 500, 0, 0)


def faces(folder: Path) -> Iterator[Any]:
    factor, border = SMALL_FACES.get("/".join(folder.parts[-3:-1]), (1.0, 0.0))
    for path in sorted(folder.iterdir()):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        edge = int(border * max(picture.shape))
        yield [Frame(cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_REPLICATE), 0, 0)]


def voices(folder: Path) -> Iterator[Any]:
    """Utterances as they are; of the isolated digits, strings of six with short pauses."""
    sounds = [soundfile.read(path, dtype="int16") for path in sorted(folder.iterdir())]
    if folder.parent.name.startswith("librispeech"):
        yield from (Recording(pcm, rate) for pcm, rate in sounds)
        return
    order = np.random.default_rng(0).permutation(len(sounds))[: 6 * 12]
    for start in range(0, len(order) - 5, 6):
        rate = sounds[0][1]
        pause = np.random.default_rng(start).normal(0.0, 3.0, rate // 5).astype(np.int16)
        yield Recording(
            np.concatenate([part for i in order[start : start + 6] for part in (sounds[i][0], pause)]), rate
        )


READERS: dict[Modality, Callable[[Path], Iterator[Any]]] = {
    Modality.FINGERPRINT: fingerprints,
    Modality.FACE: faces,
    Modality.VOICE: voices,
}


@dataclass
class Acquired:
    """Accepted features per subject, and what became of the rest."""

    features: dict[str, list[Features]] = field(default_factory=lambda: defaultdict(list))
    qualities: list[Quality] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    refused: int = 0


def acquire(pipelines: Pipelines, data: Path, name: str) -> Acquired:
    modality = Modality(name.split("/", maxsplit=1)[0])
    pipeline: Any = getattr(pipelines, modality)
    result = Acquired()
    for folder in sorted(path for path in (data / name).iterdir() if path.is_dir()):
        for capture in READERS[modality](folder):
            try:
                sample = pipeline.extract(capture, Purpose.VERIFY)
            except CaptureRefused as error:
                result.refused += 1
                result.reasons.update(error.quality.reasons)
                result.qualities.append(error.quality)
            else:
                result.features[folder.name].append(sample.features)
                result.qualities.append(sample.quality)
    return result


def trials(
    pipelines: Pipelines, own: Acquired, others: list[Features], modality: Modality, options: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of genuine and of impostor attempts; enrolment chooses captures at random, the seed is fixed."""
    random = np.random.default_rng(1)
    genuine, impostor = [], []
    for _ in range(options.repeats):
        for subject, features in own.features.items():
            count = max(SAMPLES_MINIMUM[modality], min(options.enrol or ENROL[modality], len(features) - 1))
            if len(features) <= count:
                continue
            chosen = set(random.permutation(len(features))[:count].tolist())
            template = Template.of([features[index] for index in sorted(chosen)])
            probes = [one for index, one in enumerate(features) if index not in chosen]
            strangers = [one for other, group in own.features.items() if other != subject for one in group]
            genuine += [pipelines.match(template, one).score for one in probes]
            impostor += [pipelines.match(template, one).score for one in strangers + others]
    return np.array(genuine), np.array(impostor)


def rates(genuine: np.ndarray, impostor: np.ndarray, threshold: float) -> tuple[float, float]:
    """FNMR and FMR in percent."""
    return 100 * float((genuine < threshold).mean()), 100 * float((impostor >= threshold).mean())


def report(name: str, acquired: Acquired, genuine: np.ndarray, impostor: np.ndarray, accept: float) -> None:
    total = len(acquired.qualities)
    print(f"{name}: {len(acquired.features)} subjects, refused by quality {acquired.refused}/{total}")
    if not (genuine.size and impostor.size):
        print("  too few captures for trials")
        return
    steps = np.unique(np.concatenate([genuine, impostor]))
    table = np.array([rates(genuine, impostor, step) for step in steps])
    equal = table[np.argmin(np.abs(table[:, 0] - table[:, 1]))].mean()
    fnmr, fmr = rates(genuine, impostor, accept)
    print(f"  genuine {len(genuine)} (median {np.median(genuine):.3f}), impostor {len(impostor)}", end="")
    print(f" (median {np.median(impostor):.3f}, largest {impostor.max():.3f})")
    print(f"  EER {equal:.2f} %; at {accept:g}: FNMR {fnmr:.2f} %, FMR {fmr:.3f} %")
    for target in (1.0, 0.1, 0.0):
        reached = np.flatnonzero(table[:, 1] <= target)
        if reached.size:
            print(f"  FMR <= {target:g} % from {steps[reached[0]]:.3f}, there FNMR {table[reached[0], 0]:.2f} %")
    for reason, count in acquired.reasons.most_common():
        print(f"  refused {count}x: {reason}")


def report_measures(acquired: Acquired) -> None:
    names = sorted({name for quality in acquired.qualities for name in quality.measures})
    for name in names:
        values = [quality.measures[name] for quality in acquired.qualities if name in quality.measures]
        shown = " ".join(f"{value:10.3f}" for value in np.percentile(values, [0, 1, 5, 25, 50, 75, 95, 99, 100]))
        print(f"    {name:18s} {shown}")
    scores = np.percentile([quality.score for quality in acquired.qualities], [0, 5, 25, 50, 75, 95, 100])
    print("    score", scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", action="append", dest="sets", metavar="MODALITY/SET")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--enrol", type=int, help="captures per template (default: fingerprint 4, face and voice 3)")
    parser.add_argument("--measures", action="store_true", help="also print percentiles of every quality measure")
    arguments = parser.parse_args()
    pipelines = Pipelines()
    known: dict[str, Acquired] = {}

    def acquired(name: str) -> Acquired:
        return known.setdefault(name, known.get(name) or acquire(pipelines, arguments.data, name))

    default = [
        f"{folder.parent.name}/{folder.name}" for m in Modality for folder in sorted((arguments.data / m).iterdir())
    ]
    for name in arguments.sets or [name for name in default if not name.endswith("_cohort")]:
        modality = Modality(name.split("/", maxsplit=1)[0])
        extra = [acquired(other).features for other in IMPOSTORS_FROM.get(name, [])]
        others = [one for features in extra for group in features.values() for one in group]
        scores = trials(pipelines, acquired(name), others, modality, arguments)
        report(name, acquired(name), *scores, THRESHOLDS[modality].accept)
        if arguments.measures:
            report_measures(acquired(name))


if __name__ == "__main__":
    main()
