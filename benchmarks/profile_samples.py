"""Real samples for the benchmarks of sealed profiles: features of each subject, acquired as by `keyvigil evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.biometrics import Features, Modality, Pipeline, make_pipeline
from agent.evaluation import Settings, Silent
from agent.evaluation.acquiring import Acquisition
from agent.evaluation.folder import read_folder
from agent.evaluation.materials import suffixes

ALIGNED = "celeb24"
"""The set whose pictures are aligned already."""


def acquired(
    modality: Modality, folders: Sequence[Path], settings: Sequence[str] = ()
) -> tuple[Pipeline[Any], list[list[Features]]]:
    """The pipeline, and the features of every subject of the folders."""
    people = []
    for folder in folders:
        own = [*settings, "face.aligned=true"] if folder.name == ALIGNED else settings
        chosen = Settings.of(modality, own)
        pipeline = make_pipeline(modality, chosen.pipeline)
        subjects = Acquisition(pipeline, chosen, 1, Silent()).subjects(read_folder(folder, suffixes(modality)))
        people += [[each.features for each in subject.usable if each.features] for subject in subjects]
    return pipeline, people


def embedding(pipeline: Any, samples: Sequence[Features]) -> np.ndarray:
    """The one embedding float32 `[d]` of several samples."""
    return pipeline.embedding(tuple(each.vector for each in samples)).astype(np.float32)


def groups(samples: Sequence[Any], size: int, count: int, random: np.random.Generator) -> Iterator[list[Any]]:
    """`count` random choices of `size` samples, or of all where there are fewer."""
    size = min(size, len(samples))
    for _ in range(count):
        yield [samples[index] for index in random.choice(len(samples), size, replace=False)]
