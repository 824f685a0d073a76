"""What the benchmarks of attacks share: samples by subject, counts with their bounds, a table and JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly
from scipy.stats import beta

from simulators.attacks import seeds

RATE = 16_000
PEAK = 0.3


@dataclass
class Count:
    """`wrong` of `of`: attacks that passed, or genuine captures that were refused."""

    wrong: int = 0
    of: int = 0

    def note(self, wrong: bool) -> None:
        self.wrong, self.of = self.wrong + wrong, self.of + 1

    @property
    def bound(self) -> float:
        """Upper 95 % bound of the rate (Clopper and Pearson), as if the tries were independent."""
        return float(beta.ppf(0.95, self.wrong + 1, self.of - self.wrong)) if self.wrong < self.of else 1.0

    def __str__(self) -> str:
        if not self.of:
            return "none"
        return (
            f"{self.wrong:5d} of {self.of:<6d} {100 * self.wrong / self.of:7.3f} %  at most {100 * self.bound:6.3f} %"
        )


@dataclass
class Report:
    """Counts by name; `json` writes them too."""

    benchmark: str
    seed: int
    sets: list[str]
    counts: dict[str, Count] = field(default_factory=dict)

    def of(self, name: str) -> Count:
        return self.counts.setdefault(name, Count())

    def show(self, file: str | None) -> None:
        out = sys.stderr if file == "-" else sys.stdout
        print(f"{self.benchmark}, seed {self.seed}, {', '.join(self.sets)} (simulation)", file=out)
        for name, count in self.counts.items():
            print(f"  {name:44s} {count}", file=out)
        if file is None:
            return
        rates = {name: asdict(one) | {"upper_95": one.bound} for name, one in self.counts.items() if one.of}
        text = json.dumps(
            {"benchmark": self.benchmark, "seed": self.seed, "sets": self.sets, "counts": rates}, indent=1
        )
        sys.stdout.write(text) if file == "-" else Path(file).write_text(text)


def options(description: str | None, sets: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", action="append", dest="sets", help=f"default: {', '.join(sets)}")
    parser.add_argument("--count", type=int, default=200, help="attacks of each species, and genuine tries")
    parser.add_argument("--tuning", action="store_true", help="the seed that was tuned against, not the reported one")
    parser.add_argument("--json", metavar="FILE")
    chosen = parser.parse_args()
    chosen.sets = chosen.sets or sets
    chosen.seed = seeds.TUNING if chosen.tuning else seeds.REPORTED
    return chosen


def subjects(data: Path, name: str) -> Iterator[tuple[str, list[Path]]]:
    """Subject by subject, its samples."""
    for folder in sorted((data / name).iterdir()):
        if folder.is_dir():
            yield f"{name}/{folder.name}", sorted(path for path in folder.iterdir() if path.is_file())


def grey(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def colour(path: Path, least: int = 300) -> NDArray[np.uint8]:
    """The picture, enlarged by a whole number to `least` pixels a side."""
    picture = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), np.uint8)
    factor = -(-least // min(picture.shape[:2]))
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)


def sound(path: Path) -> NDArray[np.float64]:
    """Mono at 16 kHz with a peak of 0.3."""
    samples, rate = soundfile.read(path, dtype="float64")
    common = int(np.gcd(rate, RATE))
    resampled = resample_poly(samples, RATE // common, rate // common)
    return np.asarray(PEAK * resampled / max(1e-9, float(np.abs(resampled).max())))


def pcm(samples: NDArray[np.float64]) -> Any:
    return np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16)
