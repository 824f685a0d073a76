"""Right strings of six spoken digits accepted, and others, on folders `<subject>/<digit>_<take>.wav`.

    python benchmarks/spoken_digits.py --data ../shared/data/voice/fsdd [--model FILE] [--subjects A,B] [--length 6]

Another network than the shipped one shows what a split by speakers says: `tools/train_digits.py --without A,B`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import soundfile

from agent.biometrics.digits._network import DigitNetwork, parse
from agent.biometrics.digits.evaluation import Outcome, Plan, Share, Voices, evaluate
from agent.biometrics.digits.scoring import telephone

EDGE = 160


def trimmed(sound: np.ndarray) -> np.ndarray:
    """The part of a one-second clip that is loud: above a thousandth of its peak power and four times its floor."""
    power = np.convolve(sound**2, np.ones(EDGE) / EDGE, "same")
    floor = np.percentile(power, 20)
    loud = np.flatnonzero(power > max(power.max() * 1e-3, 4 * floor if floor < 0.02 * power.max() else 0.0))
    return sound[max(0, loud[0] - EDGE) : loud[-1] + EDGE]


def voices(folder: Path, subjects: set[str]) -> Voices:
    """Every subject's digits in natural order of takes."""
    people: dict[str, dict[int, list[np.ndarray]]] = {}
    for path in sorted(folder.glob("*/*.wav"), key=lambda path: [int(part) for part in path.stem.split("_")]):
        if subjects and path.parent.name not in subjects:
            continue
        pcm, rate = soundfile.read(path, dtype="float32")
        sound = telephone(pcm, rate)
        digit = int(path.stem.split("_")[0])
        people.setdefault(path.parent.name, {}).setdefault(digit, []).append(trimmed(sound) if rate > 8000 else sound)
    return people


def line(name: str, share: Share) -> str:
    interval = f"[{100 * share.low:.3g}, {100 * share.high:.3g}]"
    return f"  {name:28s} {100 * share.rate:8.3f} %  {interval:18s} {share.accepted} of {share.count}"


def report(title: str, outcome: Outcome) -> None:
    print(title)
    print(line("right string, first try", outcome.right))
    print(line("random other string", outcome.others))
    for places, share in outcome.near.items():
        print(line(f"other in {places} place{'s' * (places > 1)}", share))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="weights in place of the shipped ones")
    parser.add_argument("--subjects", default="", help="these only, by comma")
    parser.add_argument("--length", type=int, default=6)
    parser.add_argument("--attempts", type=int, default=40, help="a subject")
    parser.add_argument("--others", type=int, default=900, help="random strings an attempt")
    chosen = parser.parse_args()
    network = DigitNetwork(parse(chosen.model.read_bytes()) if chosen.model else ())
    people = voices(chosen.data, {name for name in chosen.subjects.split(",") if name})
    started = time.process_time()
    result = evaluate(network, people, Plan(length=chosen.length, attempts=chosen.attempts, others=chosen.others))
    print(f"{chosen.data.name}: {len(people)} people, {time.process_time() - started:.0f} s of CPU")
    report("without own takes", result.alone)
    if result.own:
        report("with own takes", result.own)


if __name__ == "__main__":
    main()
