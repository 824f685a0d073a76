#!/usr/bin/env python3
"""Learns the mean of the shipped face network's descriptors from pictures `<person>/<picture>`.

The shipped agent/models/face_centre.npy comes of the easy faces of Caltech-101 (agent/models/README.md):

    tools/learn_face_centre.py --people DIR --output agent/models/face_centre.npy

Each person counts once. Names and pictures are not kept.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from functools import partial
from pathlib import Path

import numpy as np

from agent.biometrics import CaptureRefused, FacePipeline
from agent.biometrics.parameters import FACE_SCALE
from agent.evaluation import pictures


def described(pipeline: FacePipeline, person: Path) -> list[np.ndarray]:
    """The descriptors `[128]` of one person's pictures that show a face well."""
    found = []
    for path in sorted(path for path in person.iterdir() if path.is_file()):
        try:
            found.append(pipeline.extract(partial(pictures.face, path, enlarge=True)()).features.vector / FACE_SCALE)
        except CaptureRefused:
            continue
    return found


def main() -> None:
    """Write the centre and print its hash."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    pipeline = FacePipeline()
    people = [described(pipeline, person) for person in sorted(chosen.people.iterdir()) if person.is_dir()]
    means = [np.mean(person, axis=0) for person in people if person]
    np.save(chosen.output, np.mean(means, axis=0).astype(np.float32), allow_pickle=False)
    sys.stdout.write(f"{len(means)} people, sha256 {hashlib.sha256(chosen.output.read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    main()
