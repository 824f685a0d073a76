"""The decision of a sealed profile in place of the matcher's: bind what was enrolled, open it with what is presented.

Worst case of a stolen node: whoever presents knows pepper, frame and shares, and a second modality is granted to them,
so that the one under evaluation stands alone. They have the three candidates that a node tries at its TPM; comparing
these with the true root stands for the TPM's answer. A modality without embeddings is released: its matcher decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import Embedding, Features, Pipeline, Template, match
from agent.profile.commitment import CodeParameters, bind, candidates, parameters_for

CANDIDATES = 3
_GRANTED = "granted"


@dataclass(frozen=True)
class Judged:
    """The matcher's score of an attempt, and whether it is accepted."""

    score: float
    accepted: bool


Judge = Callable[[Template], Callable[[Sequence[Features]], Judged]]
"""Takes a template, and then presentations one after another."""


def by_matching(pipeline: Pipeline[Any]) -> Judge:
    """The matcher's decision."""

    def judge(template: Template) -> Callable[[Sequence[Features]], Judged]:
        def judged(probes: Sequence[Features]) -> Judged:
            result = match(pipeline, template, probes)
            return Judged(result.score, result.accepted)

        return judged

    return judge


def through_profile(pipeline: Pipeline[Any], random: np.random.Generator) -> Judge:
    """The decision of sealing and unlocking; raises `ValueError` for embeddings of an unknown code."""
    if not isinstance(pipeline, Embedding):
        return by_matching(pipeline)
    kind, name = pipeline, pipeline.modality.value
    codes = {name: parameters_for(kind.code)}

    def judge(template: Template) -> Callable[[Sequence[Features]], Judged]:
        pepper, context = random.bytes(32), random.bytes(32)
        enrolled = {name: _embedding(kind, template.vectors)}
        root, shares = bind(enrolled, [_GRANTED], codes, pepper, context, random.bytes)

        def judged(probes: Sequence[Features]) -> Judged:
            result = match(pipeline, template, probes)
            probe = {name: _embedding(kind, tuple(each.vector for each in probes))}
            found = candidates(shares, probe, {_GRANTED}, codes, pepper, context, CANDIDATES)
            return Judged(result.score, result.consistent and any(each.root == root for each in found))

        return judged

    return judge


def described(pipeline: Pipeline[Any]) -> Mapping[str, Any]:
    """What the report says of the profile: bound with which code, or released."""
    if not isinstance(pipeline, Embedding):
        return {"share": "released"}
    code: CodeParameters = parameters_for(pipeline.code)
    sizes = {"n": code.n, "k": code.k, "list_size": code.list_size}
    return {"share": "bound", "code": pipeline.code, **sizes, "candidates": CANDIDATES}


def _embedding(pipeline: Embedding, vectors: tuple[NDArray[np.int16], ...]) -> NDArray[np.float32]:
    return pipeline.embedding(vectors).astype(np.float32)
