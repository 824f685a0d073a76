"""Presentation attacks on the face, played by the simulators against the shipped code: APCER per species and BPCER.

    python benchmarks/attacks_face.py [--data DIR] [--presentations 200] [--fps 10] [--json FILE] [--species NAME ...]

A *simulation* in the terms of ISO/IEC 30107-3: attacks and bona fide presentations are rendered, time is simulated.
The faces are the shipped personas and, with `--data`, the animated photographs of every subject of a face set. A
presentation passes when the modality's own captures give frames with no refusal; recognition is not asked, so that the
figures are those of the liveness part alone. `same row` counts recorded answers whose row of gestures happened to be
the one drawn: nothing but the digests of past captures can refuse those.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from agent.biometrics.liveness import LiveFrames
from agent.modalities.face import Face
from hal import TimedOut
from protocol.gestures import rows
from simulators.attacks import FACE_SPECIES, REPLAYED, FaceAttack, FaceScene, FaceStage, LiveFace, face_attack
from simulators.personas import shipped_personas
from simulators.personas._face import AnimatedFace
from simulators.personas._folder import portrait_of

GENUINE = "bona-fide"
PATIENCE_S = 60.0
"""Of the simulated sensor; the checks give up earlier."""


@dataclass(frozen=True)
class Someone:
    """One picture of a subject, animated."""

    subject: str
    face: AnimatedFace


def present(face: Face, scene: FaceScene, gestures: tuple[str, ...], fps: float) -> tuple[str, float]:
    """The reason of the refusal, empty for none, and the seconds that it took."""
    stage = FaceStage(scene, gestures, fps, patience_s=PATIENCE_S)
    try:
        frames = next(face.captures(stage))
    except TimedOut:
        return "The camera sent no further pictures.", stage.now
    assert isinstance(frames, LiveFrames)
    return frames.refusal, stage.now


def faces(data: Path | None, dataset: str, pictures: int) -> list[Someone]:
    """The people of the simulation, or their photographs in which eyes are found."""
    people = [Someone(persona.name, persona.face) for persona in shipped_personas()]
    subjects = sorted((data / "face" / dataset).iterdir()) if data else []
    for subject in subjects:
        for path in sorted(subject.iterdir())[:pictures]:
            portrait = portrait_of(path)
            if portrait.eyes:
                people.append(Someone(subject.name, AnimatedFace(portrait, len(people))))
            else:
                print(f"{subject.name}/{path.name}: no eyes found, left out", file=sys.stderr)
    return people


def scenes(species: str, people: list[Someone], steps: int, count: int) -> Iterator[tuple[FaceScene, Any, Any]]:
    """Scene, row drawn and row recorded, `count` times; the species and its number alone determine them."""
    admissible = rows(steps)
    for number in range(count):
        rng = random.Random(f"{species}/{number}")
        victim = rng.choice(people)
        attacker = rng.choice([one for one in people if one.subject != victim.subject])
        drawn, recorded = rng.choice(admissible), rng.choice(admissible)
        if species == GENUINE:
            yield LiveFace(people[number % len(people)].face, number), drawn, None
        else:
            yield face_attack(species, FaceAttack(victim.face, attacker.face, recorded, number)), drawn, recorded


def interval(events: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    if not count:
        return 0.0, 1.0
    z, share = 1.96, events / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def run(species: str, people: list[Someone], options: argparse.Namespace) -> dict[str, Any]:
    """Every presentation of one species."""
    face, reasons, seconds, same, same_passed = Face({}), Counter[str](), [], 0, 0
    count = options.presentations
    for number, (scene, drawn, recorded) in enumerate(scenes(species, people, options.steps, count)):
        reason, took = present(face, scene, tuple(drawn), options.fps)
        reasons[reason] += 1
        seconds.append(took)
        if drawn == recorded and species in REPLAYED:
            same += 1
            same_passed += not reason
        if options.verbose and (not reason) != (species == GENUINE):
            print(f"  {species} {number}: {reason or 'PASSED'} {[str(one) for one in drawn]}", file=sys.stderr)
    passed = reasons.pop("", 0)
    wrong = count - passed if species == GENUINE else passed
    low, high = interval(wrong, count)
    return {
        "presentations": count,
        "errors": wrong,
        "rate": wrong / count,
        "interval95": [round(low, 4), round(high, 4)],
        "same_row": same,
        "same_row_passed": same_passed,
        "seconds_p50": round(sorted(seconds)[count // 2], 1),
        "seconds_max": round(max(seconds), 1),
        "reasons": dict(reasons.most_common()),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", dest="dataset", default="caltech_faces_easy")
    parser.add_argument("--pictures", type=int, default=2, help="photographs of each subject")
    parser.add_argument("--presentations", type=int, default=200, help="of each species, and bona fide")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--species", choices=[GENUINE, *FACE_SPECIES], nargs="*", default=[GENUINE, *FACE_SPECIES])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    cv2.setNumThreads(1)
    people = faces(options.data, options.dataset, options.pictures)
    subjects = {one.subject for one in people}
    print(f"simulation: {len(people)} pictures of {len(subjects)} people, one of {len(rows(options.steps))} rows drawn")
    results: dict[str, Any] = {}
    for species in options.species:
        begun = time.process_time()
        found = results[species] = run(species, people, options)
        kind = "BPCER" if species == GENUINE else "APCER"
        low, high = (100 * bound for bound in found["interval95"])
        print(
            f"{species:20s} {kind} {found['errors']:4d} of {found['presentations']} ({low:.1f} to {high:.1f} %), "
            f"same row {found['same_row_passed']} of {found['same_row']}, median {found['seconds_p50']} s, "
            f"CPU {time.process_time() - begun:.0f} s",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps({"simulation": True, "fps": options.fps, "species": results}, indent=2))


if __name__ == "__main__":
    main()
