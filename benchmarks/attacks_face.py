"""Presentation attacks on the face, played by the simulators against the shipped code: APCER per species and BPCER.

    python benchmarks/attacks_face.py [--data DIR] [--presentations 200] [--fps 10] [--json FILE] [--species NAME ...]
        [--same-row] [--infrared] [--flashes N [--room bright] [--brightness 0.3] [--without-gestures]]

A *simulation* in the terms of ISO/IEC 30107-3: attacks and bona fide presentations are rendered, time is simulated.
The faces are the shipped personas and, with `--data`, the animated photographs of every subject of a face set. Whose
face it is is not asked: what passes the gestures would match. Two counts of each species:

- *gestures alone*: the modality's own captures give frames with no refusal. `same row` counts recorded answers whose
  row of gestures happened to be the one drawn.
- *with the memory of past captures*: of those, the ones that the shipped pipeline takes and does not find among the
  digests of earlier captures. What a recording is of was an answer of the person: the node looks on at it, and keeps a
  digest if it takes it. For bona fide presentations the earlier ones of the same picture are kept.

With `--same-row` every recording is of an answer that the node took, with the prompts that it gave then, and the same
row of gestures is drawn again: what only memory can refuse. Where the node refuses the person, the next take is theirs.
Bona fide is then another answer of that person to the row.

With `--flashes` the node has a screen that shows so many colours after the gestures, and the benchmark has the light of
a room (`ROOMS`). Recordings are of answers under other colours, and begin those at the moment of the node's own; a
further species, `displayed-video`, does all that is asked for. With `--without-gestures` flashes alone judge.

With `--infrared` the node has an infrared camera beside the other; every second print is of toner, the others of ink.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2

from agent.biometrics._dlib import shared_engine
from agent.biometrics.liveness import LiveFrames, Watch
from agent.biometrics.liveness.light import COLOURS, NEUTRAL
from agent.modalities._liveness import looked_on
from agent.modalities.face import Face
from hal import TimedOut
from protocol.flashes import Hue, flash_row, flash_rows
from protocol.gestures import rows
from simulators.attacks import (
    FACE_SPECIES,
    LIT_SPECIES,
    REPLAYED,
    FaceAttack,
    FaceScene,
    FaceStage,
    InfraredScene,
    LiveFace,
    face_attack,
    infrared_attack,
    live_infrared,
)
from simulators.personas import Light, Room, Shown, shipped_personas
from simulators.personas._face import AnimatedFace
from simulators.personas._folder import portrait_of

GENUINE = "bona-fide"
ANOTHER_TAKE = 50_000
PATIENCE_S = 60.0
"""Of the simulated sensor; the checks give up earlier."""


ROOMS = {
    "office": Room(screen=0.35, tint=(1.1, 1.0, 0.85)),
    "bright": Room(screen=0.1, tint=(1.0, 1.0, 1.0)),
    "lamp": Room(screen=0.5, tint=(1.5, 1.0, 0.5)),
    "dim": Room(screen=1.5, tint=(1.1, 1.0, 0.85)),
}
"""White screens of about 110 lux on the face, in rooms of 300, 1,100, 220 and 75 lux."""

COLOUR_S = 0.75
"""How long a colour stays in a recorded answer, as it does at 8 pictures a second."""


OF_GESTURES = frozenset({"swapped-person", "frozen-frames"})
"""Species that do what they do at prompts for gestures: without those, somebody sits before the camera."""


@dataclass(frozen=True)
class Someone:
    """One picture of a subject, animated."""

    subject: str
    face: AnimatedFace


@dataclass(frozen=True)
class Try:
    """A scene, the row drawn, what is kept of the answer that was recorded, and whether the rows are one."""

    scene: FaceScene
    drawn: tuple[str, ...]
    kept: bytes | None = None
    same: bool = False
    picture: int = 0
    hues: tuple[Hue, ...] = ()
    beside: InfraredScene | None = None


@dataclass(frozen=True)
class Taken:
    """An answer that the node took: how to show it again, and its digest."""

    means: FaceAttack
    digest: bytes

    def again(self, species: str) -> Try:
        """The recording, or the person once more."""
        live = LiveFace(self.means.victim, self.means.seed + ANOTHER_TAKE)
        scene = live if species == GENUINE else face_attack(species, self.means)
        return Try(scene, self.means.recorded, self.digest, True)


class Node:
    """A node as shipped, as far as a face reaches."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._face, self._fps = Face({}), options.fps
        self._room = room(options) if options.flashes else None
        self.alone = options.without_gestures
        self._pipeline: Any = self._face.pipeline()
        self.reflections: list[tuple[float, float, float]] = []

    def look(self, scene: FaceScene, gestures: tuple[str, ...], *more: Any) -> tuple[LiveFrames, FaceStage]:
        """What it captures of a scene, and the stage after that; `more` are hues, and what the second camera sees."""
        hues, beside = more or ((), None)
        stage = FaceStage(scene, gestures, self._fps, patience_s=PATIENCE_S, flashes=hues, room=self._room)
        stage.beside = beside
        try:
            frames = self._watched(stage, hues) if self.alone else next(self._face.captures(stage))
        except TimedOut:
            return LiveFrames.of((), "The camera sent no further pictures."), stage
        assert isinstance(frames, LiveFrames)
        return frames, stage

    def _watched(self, stage: FaceStage, hues: tuple[Hue, ...]) -> LiveFrames:
        """What flashes alone make of it."""
        watch = Watch(shared_engine(), (), 5.0, 10.0, hues)
        with ExitStack() as lights:
            frames = looked_on(watch, stage, stage, lights)
        if (seen := watch.reflection) is not None:
            self.reflections.append((round(seen.strength, 4), round(seen.agreement, 3), round(seen.relief, 2)))
        return frames

    def remember(self, frames: LiveFrames) -> bytes | None:
        """The digest that it keeps of what it takes."""
        features = self._pipeline.examine(frames, "challenge").features
        return None if features is None else self._pipeline.digest(features)

    def refuses(self, frames: LiveFrames, past: Sequence[bytes]) -> str:
        """Why frames that passed the gestures go no further, empty if they do."""
        examined = self._pipeline.examine(frames, "challenge")
        if examined.features is None:
            return f"quality: {examined.reason}"
        return "given before" if self._pipeline.replayed(past, examined.features) else ""


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


def tries(species: str, people: list[Someone], node: Node, options: argparse.Namespace) -> Iterator[Try]:
    """The presentations of a species; the species and their numbers alone determine them."""
    admissible = rows(options.steps)
    for number in options.numbers or range(options.presentations):
        rng = random.Random(f"{species}/{number}")
        victim = rng.choice(people)
        attacker = rng.choice([one for one in people if one.subject != victim.subject])
        drawn, recorded = rng.choice(admissible), rng.choice(admissible)
        hues, lit = flashes(rng, options)
        if species == GENUINE:
            picture = number % len(people)
            live = LiveFace(people[picture].face, number)
            beside = live_infrared(live) if options.infrared else None
            yield Try(live, drawn, picture=picture, hues=hues, beside=beside)
        else:
            means = FaceAttack(victim.face, attacker.face, recorded, number, lit=lit)
            same = species in REPLAYED and drawn == recorded and not hues
            kept = recalled(node, means) if same else None
            prints = "toner" if number % 2 else "ink"
            beside = infrared_attack(species, means, prints) if options.infrared else None
            yield Try(face_attack(species, means), drawn, kept, same, hues=hues, beside=beside)


def flashes(rng: random.Random, options: argparse.Namespace) -> tuple[tuple[Hue, ...], Light | None]:
    """The colours drawn, and the light of a recorded answer, which had others."""
    count = options.flashes
    if not count:
        return (), None
    drawn, other = rng.sample(range(flash_rows(count)), 2)
    begun = 1.0 if options.without_gestures else 16.0
    row = [NEUTRAL, *(COLOURS[hue] for hue in flash_row(other, count)), NEUTRAL]
    shown = [Shown((one.red, one.green, one.blue), begun + COLOUR_S * place) for place, one in enumerate(row)]
    return flash_row(drawn, count), Light(room(options), shown)


def room(options: argparse.Namespace) -> Room:
    """The light there is, with a screen that gives so much of its own."""
    chosen = ROOMS[options.room]
    return replace(chosen, screen=options.brightness * chosen.screen)


def recalled(node: Node, means: FaceAttack) -> bytes | None:
    """What the node kept of the answer that was recorded, as it was given; nothing if it did not take it."""
    return node.remember(node.look(face_attack("injected-buffer", means), means.recorded)[0])


def answers(people: list[Someone], node: Node, options: argparse.Namespace) -> Iterator[Taken]:
    """Answers to be recorded, each a first take of somebody that the node takes."""
    admissible = rows(options.steps)
    for number in options.numbers or range(options.presentations):
        rng = random.Random(f"same-row/{number}")
        victim, row = rng.choice(people), rng.choice(admissible)
        for take in range(number, number + 10_000, 1000):
            frames, stage = node.look(LiveFace(victim.face, take), row)
            if (digest := node.remember(frames)) is not None:
                yield Taken(FaceAttack(victim.face, victim.face, row, take, tuple(stage.asked)), digest)
                break
        else:
            raise SystemExit(f"{victim.subject}: the node takes no answer of this face")


def interval(events: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    if not count:
        return 0.0, 1.0
    z, share = 1.96, events / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass
class Counts:
    """What became of the presentations of one species."""

    count: int = 0
    passed: int = 0
    remembered_passed: int = 0
    same: int = 0
    same_passed: int = 0
    not_taken: int = 0
    seconds: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    further: Counter[str] = field(default_factory=Counter)

    def note(self, one: Try, refusal: str, further: str, seconds: float) -> None:
        """One presentation: why the gestures refused it, and why what follows did."""
        self.count += 1
        self.seconds.append(seconds)
        self.passed += not refusal
        self.remembered_passed += not refusal and not further
        self.same += one.same
        self.same_passed += one.same and not refusal
        self.not_taken += one.same and one.kept is None
        self.reasons.update([refusal] if refusal else [])
        self.further.update([further] if further else [])

    def report(self, genuine: bool) -> dict[str, Any]:
        """Errors are bona fide presentations that were refused, and attacks that passed."""
        wrong = [self.count - one if genuine else one for one in (self.passed, self.remembered_passed)]
        return {
            "presentations": self.count,
            "errors": wrong[0],
            "rate": wrong[0] / self.count,
            "interval95": [round(bound, 4) for bound in interval(wrong[0], self.count)],
            "errors_with_memory": wrong[1],
            "interval95_with_memory": [round(bound, 4) for bound in interval(wrong[1], self.count)],
            "same_row": self.same,
            "same_row_passed": self.same_passed,
            "same_row_answers_not_taken": self.not_taken,
            "seconds_p50": round(sorted(self.seconds)[self.count // 2], 1),
            "seconds_max": round(max(self.seconds), 1),
            "reasons": dict(self.reasons.most_common()),
            "reasons_after_the_gestures": dict(self.further.most_common()),
        }


def run(species: str, presentations: Iterable[Try], node: Node, verbose: bool) -> dict[str, Any]:
    """Every presentation of one species."""
    counts, genuine, takes = Counts(), species == GENUINE, defaultdict[int, list[bytes]](list)
    for number, one in enumerate(presentations):
        frames, stage = node.look(one.scene, one.drawn, one.hues, one.beside)
        past = [one.kept] if one.kept else takes[one.picture] if genuine else []
        further = "" if frames.refusal or node.alone else node.refuses(frames, past)
        counts.note(one, frames.refusal, further, stage.now)
        if genuine and not node.alone and (kept := node.remember(frames)) is not None:
            takes[one.picture].append(kept)
        if verbose and (not frames.refusal and not further) != genuine:
            said = f"{frames.refusal or further or 'PASSED'} {[*one.drawn, *one.hues]} {node.reflections[-1:]}"
            print(f"  {species} {number}: {said}", file=sys.stderr)
    return counts.report(genuine)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", dest="dataset", default="caltech_faces_easy")
    parser.add_argument("--pictures", type=int, default=2, help="photographs of each subject")
    parser.add_argument("--presentations", type=int, default=200, help="of each species, and bona fide")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--species", choices=[GENUINE, *LIT_SPECIES], nargs="*")
    parser.add_argument("--numbers", type=int, nargs="*", help="these presentations only, of those there are")
    parser.add_argument("--same-row", action="store_true", help="recordings of answers that the node took, same row")
    parser.add_argument("--flashes", type=int, default=0, help="colours that the node's screen shows")
    parser.add_argument("--room", choices=[*ROOMS], default="office")
    parser.add_argument("--brightness", type=float, default=1.0, help="share of the screen's light that is used")
    parser.add_argument("--without-gestures", action="store_true", help="flashes alone judge")
    parser.add_argument("--infrared", action="store_true", help="an infrared camera beside the other")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if (options.same_row and options.flashes) or (options.without_gestures and not options.flashes):
        parser.error("--flashes goes without --same-row, and --without-gestures with --flashes")
    if options.infrared and (options.same_row or options.without_gestures):
        parser.error("--infrared goes with gestures, and without --same-row")
    more = options.flashes or options.infrared
    options.species = options.species or [GENUINE, *(LIT_SPECIES if more else FACE_SPECIES)]
    return options


def main() -> None:
    options = arguments()
    cv2.setNumThreads(1)
    people, node = faces(options.data, options.dataset, options.pictures), Node(options)
    subjects = {one.subject for one in people}
    print(f"simulation: {len(people)} pictures of {len(subjects)} people, one of {len(rows(options.steps))} rows drawn")
    taken = list(answers(people, node, options)) if options.same_row else []
    results: dict[str, Any] = {}
    for species in options.species:
        if options.same_row and species not in {GENUINE, *REPLAYED}:
            continue
        if (options.without_gestures or options.infrared) and species in OF_GESTURES:
            continue
        begun = time.process_time()
        again = (one.again(species) for one in taken)
        presentations = again if options.same_row else tries(species, people, node, options)
        node.reflections.clear()
        found = results[species] = run(species, presentations, node, options.verbose)
        if options.without_gestures:
            found["strength_agreement_relief"] = [*node.reflections]
        show(species, found, time.process_time() - begun)
        if options.json:
            report = {"simulation": True, "fps": options.fps, "all_same_row": options.same_row, "species": results}
            report |= {"infrared": True} if options.infrared else {}
            if options.flashes:
                report |= {"flashes": options.flashes, "room": options.room, "alone": options.without_gestures}
            options.json.write_text(json.dumps(report, indent=2))


def show(species: str, found: dict[str, Any], cpu: float) -> None:
    kind = "BPCER" if species == GENUINE else "APCER"
    alone, remembered = (
        f"{found[errors]:4d} of {found['presentations']} ({100 * found[name][0]:.1f} to {100 * found[name][1]:.1f} %)"
        for errors, name in (("errors", "interval95"), ("errors_with_memory", "interval95_with_memory"))
    )
    print(
        f"{species:20s} {kind} {alone}, with memory {remembered}, "
        f"same row {found['same_row_passed']} of {found['same_row']}, median {found['seconds_p50']} s, CPU {cpu:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
