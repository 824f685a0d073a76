"""Equal error rate of the typing rhythm on simulated typists: `python evaluate.py [TYPISTS] [SAMPLES]`.

Simulation only: it shows that the code tells hands apart which the model makes different, and where the threshold lies
between them. It says nothing about real people.
"""

from __future__ import annotations

import sys

import numpy as np
from keyvigil_keystroke.modality import PHRASE
from keyvigil_keystroke.rhythm import THRESHOLD, Stroke, Template, vector_of
from keyvigil_keystroke_sim.typist import Typist
from numpy.typing import NDArray

ENROLLED = 6


def vector(typist: Typist, repetition: int) -> NDArray[np.int16]:
    """Features of one repetition, as they would arrive over a perfect wire."""
    down: dict[str, float] = {}
    strokes = []
    for move in typist.type(PHRASE, repetition):
        if move.pressed:
            down[move.character] = move.at_s
        elif move.character != "\n":
            strokes.append(Stroke(0, int(1e9 * down.pop(move.character)), int(1e9 * move.at_s)))
    return vector_of(sorted(strokes, key=lambda stroke: stroke.down_ns))


def main(typists: int, samples: int) -> None:
    """Print EER, and the errors at the shipped threshold."""
    people = [Typist(f"subject-{number}") for number in range(typists)]
    templates = [Template(tuple(vector(one, number) for number in range(ENROLLED))) for one in people]
    probes = [[vector(one, ENROLLED + number) for number in range(samples)] for one in people]
    genuine = np.array([templates[at].distance(probe) for at in range(typists) for probe in probes[at]])
    impostor = np.array(
        [templates[at].distance(probes[other][0]) for at in range(typists) for other in range(typists) if at != other]
    )
    bounds = np.sort(np.concatenate([genuine, impostor]))
    rejected = np.searchsorted(np.sort(-genuine), -bounds) / len(genuine)
    accepted = np.searchsorted(np.sort(impostor), bounds, side="right") / len(impostor)
    at = int(np.argmin(np.abs(rejected - accepted)))
    print(f"simulated typists {typists}, genuine {len(genuine)}, impostor {len(impostor)}")
    print(f"EER {100 * (rejected[at] + accepted[at]) / 2:.2f} % at distance {bounds[at]:.2f}")
    print(f"genuine median {np.median(genuine):.2f}, 99 % {np.quantile(genuine, 0.99):.2f}")
    misses, slips = (genuine > THRESHOLD).mean(), (impostor <= THRESHOLD).mean()
    print(f"at {THRESHOLD}: FNMR {100 * misses:.2f} %, FMR {100 * slips:.2f} %")


if __name__ == "__main__":
    main(*(int(word) for word in [*sys.argv[1:], "100", "20"][:2]))
