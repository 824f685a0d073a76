"""The decision of a sealed profile in place of the matcher's: bind what was enrolled, open it with what is presented.

Worst case of a stolen node: whoever presents knows pepper, frame and shares, and a second modality is granted to them,
so that the one under evaluation stands alone. They have the three candidates that a node tries at its TPM; comparing
these with the true root stands for the TPM's answer. A modality without embeddings is released: its matcher decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import Embedding, Features, Pipeline, Template, match
from agent.profile.commitment import CodeParameters, bind, candidates_each, parameters_for

CANDIDATES = 3
_GRANTED = "granted"


Opening = Callable[[Sequence[Sequence[Features]]], list[bool]]
"""Which of several presentations open one profile."""

Sealing = Callable[[Template], Opening]
"""Makes a profile of a template."""


def through_profile(
    pipeline: Pipeline[Any], random: np.random.Generator, parameters: CodeParameters | None = None
) -> Sealing | None:
    """Sealing and unlocking; None where a matcher decides. Raises `ValueError` for embeddings of an unknown code.

    `parameters` are those of the embeddings' code, unless others are to be compared with them.
    """
    if not isinstance(pipeline, Embedding):
        return None
    kind, name, code = pipeline, pipeline.modality.value, parameters or parameters_for(pipeline.code)

    def seal(template: Template) -> Opening:
        pepper, context = random.bytes(32), random.bytes(32)
        enrolled = {name: _embedding(kind, template.vectors)}
        root, shares = bind(enrolled, [_GRANTED], {name: code}, pepper, context, random.bytes)

        def opened(presentations: Sequence[Sequence[Features]]) -> list[bool]:
            probes = np.stack([_embedding(kind, tuple(each.vector for each in one)) for one in presentations])
            found = candidates_each(shares, probes, code, pepper, context, CANDIDATES)
            consistent = [match(pipeline, template, one).consistent for one in presentations]
            return [fit and root in roots for fit, roots in zip(consistent, found, strict=True)]

        return opened

    return seal


def described(pipeline: Pipeline[Any]) -> Mapping[str, Any]:
    """What the report says of the profile: bound with which code, or released."""
    if not isinstance(pipeline, Embedding):
        return {"share": "released"}
    code: CodeParameters = parameters_for(pipeline.code)
    sizes = {"n": code.n, "k": code.k, "list_size": code.list_size}
    return {"share": "bound", "code": pipeline.code, **sizes, "candidates": CANDIDATES}


def _embedding(pipeline: Embedding, vectors: tuple[NDArray[np.int16], ...]) -> NDArray[np.float32]:
    return pipeline.embedding(vectors).astype(np.float32)
