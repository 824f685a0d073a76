"""Which code a face is to be bound with: the decision of a sealed profile for several k, on two halves of the people.

The subjects of each set are split by a hash of their names, so that a k which is chosen on one half can be confirmed on
the other. Enrolled and presented is as by `keyvigil evaluate face --through-profile`, gates included; who presents
knows pepper and shares and has three candidates. Impostors are of the same set.

    python benchmarks/choose_code.py --data ../shared/data --model mobilefacenet_128.onnx [--k 72 80 88]
        [--sets SET ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agent.biometrics import Modality, make_pipeline
from agent.evaluation import Settings, Silent
from agent.evaluation.acquiring import Acquisition, Notes
from agent.evaluation.folder import read_folder
from agent.evaluation.materials import suffixes
from agent.evaluation.operational import Operation
from agent.evaluation.through_profile import through_profile
from agent.profile.commitment import parameters_for

SETS = {"celeb24": ["face.aligned=true"], "orl": [], "caltech_faces_easy": []}
HALVES = ("A", "B")
SEED = 1


def half_of(name: str, subject: str) -> str:
    return HALVES[hashlib.sha256(f"{name}/{subject}".encode()).digest()[0] & 1]


def read(data: Path, model: Path | None, name: str) -> tuple[Any, Any, Any]:
    """Pipeline, settings and subjects of one set."""
    settings = Settings.of(Modality.FACE, [*SETS[name], *([f"face.model={model}"] if model else [])])
    pipeline = make_pipeline(Modality.FACE, settings.pipeline)
    folder = read_folder(data / "face" / name, suffixes(Modality.FACE))
    return pipeline, settings, Acquisition(pipeline, settings, SEED, Silent()).subjects(folder)


def decided(pipeline: Any, settings: Any, subjects: Any, k: int) -> dict[str, int]:
    """Attempts and errors of the people of one half."""
    code = msgspec.structs.replace(parameters_for(pipeline.code), k=k)
    seal = through_profile(pipeline, np.random.default_rng(SEED), code)
    operation = Operation(pipeline, subjects, settings.operational, SEED, Notes(), seal)
    trials = operation.run(Silent()).trials
    return {
        "people": len(subjects),
        "genuine": len(trials.genuine),
        "refused": int((~trials.genuine.accepted).sum()),
        "impostor": len(trials.impostor),
        "pairs": trials.impostor.subject_pairs,
        "opened": int(trials.impostor.accepted.sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--k", type=int, nargs="*", default=[72, 80, 88])
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    report: dict[str, Any] = {}
    for name in given.sets:
        pipeline, settings, subjects = read(given.data, given.model, name)
        for half in HALVES:
            own = [each for each in subjects if half_of(name, each.name) == half]
            for k in given.k:
                found = report[f"{name}, half {half}, k {k}"] = decided(pipeline, settings, own, k)
                print(
                    f"{name:18s} half {half} k {k:3d}: {found['people']} people, FNMR {found['refused']} of "
                    f"{found['genuine']}, FMR {found['opened']} of {found['impostor']} ({found['pairs']} pairs)",
                    flush=True,
                )
                if given.json:
                    given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
