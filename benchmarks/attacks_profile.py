"""Attacks on sealed profiles of real faces: linking records, trying everybody, climbing, inverting.

Beside each attack stands the control that it wins against, so that a floor means something.

    python benchmarks/attacks_profile.py --data ../shared/data --model mobilefacenet_128.onnx [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from profile_samples import acquired, embedding, groups

from agent.biometrics import Modality
from agent.profile.commitment import CodeParameters, _frame, _polar, bind, candidates, candidates_each, parameters_for

BINS = 20
FIELD = "face"


def d_sys(mated: Sequence[float], others: Sequence[float]) -> float:
    """Gomez-Barrero et al. 2018, equation 6, with equal priors: 0 for unlinkable, 1 for linkable."""
    edges = np.histogram_bin_edges(np.concatenate([mated, others]), BINS)
    own, foreign = (np.histogram(scores, edges)[0] / len(scores) for scores in (mated, others))
    ratio = np.divide(own, foreign, out=np.full(BINS, np.inf), where=foreign > 0)
    local = np.where(ratio <= 1, 0.0, 1.0 - 2.0 / (1.0 + ratio))
    return float((own * local).sum())


def floor(mated: Sequence[float], others: Sequence[float], random: Any) -> float:
    """What D_sys comes to by chance: the mean over shuffled labels."""
    every = np.concatenate([mated, others])
    found = []
    for _ in range(50):
        random.shuffle(every)
        found.append(d_sys(every[: len(mated)], every[len(mated) :]))
    return float(np.mean(found))


def decodability(one: bytes, other: bytes, code: CodeParameters) -> float:
    """How near the sum of two helpers is to a codeword: near if both hold like signs (Simoens et al. 2009)."""
    bits = np.unpackbits(np.frombuffer(one, np.uint8) ^ np.frombuffer(other, np.uint8))
    return -float(_polar.decode(1.0 - 2.0 * bits, code.k, 4).metrics[0])


def helper(vector: Any, key: bytes, code: CodeParameters, random: Any) -> bytes:
    message = random.integers(0, 2, code.k).astype(np.uint8)
    signs = (_frame.project(vector, code.n, key) < 0).astype(np.uint8)
    return np.packbits(signs ^ _polar.encode(message, code.n)).tobytes()


def linking(people: list[list[Any]], code: CodeParameters, random: Any) -> dict[str, Any]:
    """Two enrolments of a person against those of different people: 600 pairs of either kind."""

    def sealed(vector: Any) -> bytes:
        _, shares = bind({FIELD: vector}, ["other"], {FIELD: code}, random.bytes(32), b"", random.bytes)
        return AESGCM(random.bytes(32)).encrypt(bytes(12), shares.bound[FIELD].helper, None)[: code.n // 8]

    forms: dict[str, Callable[[Any], bytes]] = {
        "plain, public common frame (control)": lambda vector: helper(vector, bytes(32), code, random),
        "secret frame, helper in clear": lambda vector: helper(vector, random.bytes(32), code, random),
        "sealed": sealed,
    }
    found = {}
    for name, form in forms.items():
        mated, others = [], []
        for _ in range(600):
            one, other = random.choice(len(people), 2, replace=False)
            first, second = random.choice(len(people[one]), 2, replace=False)
            record = form(people[one][first])
            mated.append(decodability(record, form(people[one][second]), code))
            others.append(decodability(record, form(people[other][random.integers(len(people[other]))]), code))
        found[name] = {"d_sys": d_sys(mated, others), "floor": floor(mated, others, random), "pairs": len(mated)}
    return found


def everybody(enrolled: list[Any], probes: list[list[Any]], code: CodeParameters, random: Any) -> dict[str, Any]:
    """Every sample and mean of everybody else against every record, pepper and second modality known."""
    opened, tried = set(), 0
    for number, vector in enumerate(enrolled):
        secret = random.bytes(32)
        root, shares = bind({FIELD: vector}, ["other"], {FIELD: code}, secret, b"", random.bytes)
        others = np.stack([probe for other, group in enumerate(probes) for probe in group if other != number])
        found = candidates_each(shares, others, code, secret, b"")
        tried += len(others)
        if any(root in roots for roots in found):
            opened.add(number)
    return {"targets": len(enrolled), "opened": len(opened), "tried": tried}


def climbing(target: Any, start: Any, answer: Callable[[Any], float], queries: int, random: Any) -> float:
    """The cosine reached by keeping every change that the answer does not call worse."""
    here = start / np.linalg.norm(start)
    best = answer(here)
    for _ in range(queries):
        step = here + random.normal(0.0, 0.05, here.size)
        step /= np.linalg.norm(step)
        told = answer(step)
        if told > best or (told == best and told == 0.0):
            here, best = step, told
    return float(here @ target)


def climbs(enrolled: list[Any], starts: list[Any], code: CodeParameters, queries: int, random: Any) -> dict[str, Any]:
    """From the face of somebody else: against the answer in four buckets on success, and against the exact score."""
    bucketed, exact, before = [], [], []
    for vector, start in zip(enrolled, starts, strict=True):
        secret = random.bytes(32)
        root, shares = bind({FIELD: vector}, ["other"], {FIELD: code}, secret, b"", random.bytes)

        def bucket(probe: Any, r: bytes = root, s: Any = shares, p: bytes = secret) -> float:
            found = candidates(s, {FIELD: probe.astype(np.float32)}, {"other"}, {FIELD: code}, p, b"")
            right = [each for each in found if each.root == r]
            return 1.0 + int(4 * max(0.0, 0.3 - right[0].distances[FIELD]) / 0.3) if right else 0.0

        before.append(float(start @ vector))
        bucketed.append(climbing(vector, start, bucket, queries, random))
        exact.append(climbing(vector, start, lambda probe, v=vector: float(probe @ v), queries, random))
    names = {"before": before, "bucketed": bucketed, "exact score (control)": exact}
    return {"queries": queries, **{name: float(np.mean(found)) for name, found in names.items()}}


def inverting(enrolled: list[Any], code: CodeParameters, random: Any) -> dict[str, float]:
    """The cosine of what signs give back: of an opened record (control), and of one that is not opened."""
    opened, closed = [], []
    for vector in enrolled:
        key = random.bytes(32)
        frame = np.stack([_frame.project(row, code.n, key) for row in np.eye(len(vector))], axis=1)
        signs = np.where(frame @ vector < 0, -1.0, 1.0)
        noise = 1.0 - 2.0 * np.unpackbits(np.frombuffer(helper(vector, key, code, random), np.uint8))
        for found, bits in ((opened, signs), (closed, noise)):
            back = frame.T @ bits
            found.append(float(back @ vector / np.linalg.norm(back)))
    size = len(enrolled[0])
    return {
        "opened (control)": float(np.mean(opened)),
        "not opened, frame known": float(np.mean(closed)),
        "three sigma of chance": float(3.0 / np.sqrt(size * len(enrolled))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--targets", type=int, default=2, help="of the climbing")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    random = np.random.default_rng(1)
    folders = [given.data / "face" / name for name in ("celeb24", "orl", "caltech_faces_easy")]
    settings = [f"face.model={given.model}"] if given.model else []
    pipeline, people = acquired(Modality.FACE, folders, settings)
    people = [samples for samples in people if len(samples) >= 8]
    code = parameters_for(pipeline.code)
    means = [[embedding(pipeline, group) for group in groups(samples, 5, 6, random)] for samples in people]
    probes = [
        [embedding(pipeline, group) for size in (1, 3) for group in groups(samples, size, 10, random)]
        for samples in people
    ]
    enrolled = [group[0] for group in means]
    few = given.targets
    report = {
        "linking": linking(means, code, random),
        "everybody": everybody(enrolled, probes, code, random),
        "inverting": inverting(enrolled, code, random),
        "climbing": climbs(enrolled[:few], enrolled[-few:], code, given.queries, random),
    }
    print(json.dumps(report, indent=2))
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
