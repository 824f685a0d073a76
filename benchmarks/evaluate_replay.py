"""How often a new capture passes for an earlier one, and how often a disguised copy does not.

Every ordered pair of captures of one subject is compared as if the second had been kept; and captures are disguised and
compared with what was kept of them.

    python benchmarks/evaluate_replay.py --data ../shared/data [--set face/orl ...] [--count 200] [--json FILE]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attack_samples import Report, colour, grey, options, pcm, sound, subjects

from agent.biometrics import Modality, Recording
from agent.biometrics.replay import Recogniser, recogniser
from hal import FingerprintImage, Frame
from simulators.attacks import face, finger, voice

SETS = [
    "fingerprint/FVC2002_DB1_B",
    "fingerprint/FVC2004_DB1_B",
    "face/caltech_faces_easy",
    "face/orl",
    "face/celeb24",
    "voice/librispeech",
    "voice/fsdd",
    "voice/speech_commands",
]
LENGTH = 6
ANSWERS = 24

LOAD: Mapping[Modality, Callable[[Path], Any]] = {
    Modality.FINGERPRINT: grey,
    Modality.FACE: colour,
    Modality.VOICE: sound,
}
CAPTURE: Mapping[Modality, Callable[[Any], Any]] = {
    Modality.FINGERPRINT: lambda raw: FingerprintImage(raw, 500, 0, 0),
    Modality.FACE: lambda raw: [Frame(raw, 0, 0)],
    Modality.VOICE: lambda raw: Recording(pcm(raw), voice.RATE),
}
DISGUISES: Mapping[Modality, Mapping[str, Callable[[Any, np.random.Generator], Any]]] = {
    Modality.FINGERPRINT: finger.DISGUISES,
    Modality.FACE: face.DISGUISES,
    Modality.VOICE: {**voice.DISGUISES, "played back": voice.played_back, "telephone": voice.telephone_played_back},
}


def raws(modality: Modality, paths: Sequence[Path], rng: np.random.Generator) -> list[Any]:
    """What the sensor would have given; of isolated digits, answers of six in which no take comes twice."""
    loaded = [LOAD[modality](path) for path in paths]
    if modality is not Modality.VOICE or not paths[0].stem[0].isdigit() or "_" not in paths[0].stem:
        return loaded
    if len(loaded) < LENGTH or paths[0].parent.parent.name.startswith("librispeech"):
        return loaded
    order = rng.permutation(len(loaded))[: len(loaded) // LENGTH * LENGTH].reshape(-1, LENGTH)
    return [voice.genuine([loaded[index] for index in row], rng)[0] for row in order[:ANSWERS]]


def main() -> None:
    chosen = options(__doc__, SETS)
    report = Report("evaluate_replay", chosen.seed, chosen.sets)
    for name in chosen.sets:
        modality = Modality(name.split("/")[0])
        judge(report, name, modality, recogniser(modality), chosen)
    report.show(chosen.json)


def pairs(traces: Sequence[bytes], digests: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Each capture's trace with the digest of every other."""
    for index, trace in enumerate(traces):
        yield from ((trace, digest) for other, digest in enumerate(digests) if other != index)


def judge(report: Report, name: str, modality: Modality, known: Recogniser, chosen: Any) -> None:
    rng = np.random.default_rng(chosen.seed)
    people = [raws(modality, paths, rng) for _, paths in subjects(chosen.data, name)]
    tries: list[tuple[Any, bytes]] = []
    taken_for_old = known.repeated if modality is Modality.VOICE else known.replayed
    spent, compared = 0.0, 0
    for number, captures in enumerate(people):
        traces = [known.trace(CAPTURE[modality](raw)) for raw in captures]
        digests = [known.digest(trace) for trace in traces]
        begun = time.process_time()
        half = f"{name}: new taken for old, {'second' if number % 2 else 'first'} half of subjects"
        for trace, digest in pairs(traces, digests):
            report.of(half).note(taken_for_old([digest], trace))
            compared += 1
        spent += time.process_time() - begun
        tries += list(zip(captures, digests, strict=True))
    for disguise, change in DISGUISES[modality].items():
        for _ in range(chosen.count):
            raw, digest = tries[int(rng.integers(len(tries)))]
            found = known.replayed([digest], known.trace(CAPTURE[modality](change(raw, rng))))
            report.of(f"{name}: old taken for new, {disguise}").note(not found)
    print(f"{name}: {1000 * spent / max(1, compared):.1f} ms CPU a comparison", flush=True)


if __name__ == "__main__":
    main()
