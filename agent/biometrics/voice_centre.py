"""Where voices in general lie among embeddings, so that scores tell persons and not channels apart.

Embeddings of all people share a direction, and the narrower the channel the more of it: strangers on a telephone band
resemble one another. A share of the mean of many people is therefore taken off every embedding, one mean for each band.
A mean of many is a parameter of the model and shows nobody.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import embeddings, parameters
from agent.biometrics._files import require_sha256
from agent.biometrics.errors import ModelError

_SHAPE = (2, parameters.VOICE_DIMENSIONS)


@dataclass(frozen=True, eq=False)
class VoiceCentre:
    """Mean of the unit embeddings of many people: `means` float32 `[2, 192]`, of the full and of the telephone band."""

    means: NDArray[np.float32] = field(repr=False)

    @classmethod
    def load(cls, path: Path, sha256: str) -> Self:
        """The centre in a file of this hash; raises `ModelError`."""
        require_sha256(path, sha256)
        try:
            means = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError):
            raise ModelError(f"{path.name} holds no centre of voices") from None
        if means.shape != _SHAPE or means.dtype != np.float32 or not np.isfinite(means).all():
            raise ModelError(f"{path.name} holds no centre of voices")
        return cls(means)

    def to_bytes(self) -> bytes:
        """The file that `load` reads (NPY, without pickled objects)."""
        buffer = io.BytesIO()
        np.save(buffer, self.means, allow_pickle=False)
        return buffer.getvalue()

    def off(self, embedding: NDArray[np.floating], *, narrow: bool) -> NDArray[np.float64]:
        """The unit embedding `[192]` with this centre's share taken off, of length one."""
        mean = self.means[int(narrow)].astype(np.float64)
        return embeddings.unit(embeddings.unit(embedding) - parameters.VOICE_CENTRE_SHARE * mean)

    def adapted(
        self,
        people: Sequence[Sequence[NDArray[np.floating]]],
        *,
        narrow: bool,
        prior: float = parameters.VOICE_CENTRE_PRIOR,
    ) -> Self:
        """This centre moved towards a site's own people: `people` has the embeddings `[192]` of each person.

        Each person counts once, and the present centre as `prior` people, so that a few colleagues do not become the
        measure of everybody (maximum a posteriori, as Reynolds et al. 2000 do for means). Raises `BiometricError` for
        an embedding of length zero.
        """
        persons = [np.mean([embeddings.unit(one) for one in group], axis=0) for group in people if group]
        means = self.means.copy()
        means[int(narrow)] = (prior * means[int(narrow)] + np.sum(persons, axis=0)) / (prior + len(persons))
        return type(self)(means)


@lru_cache(maxsize=4)
def opened(path: str, sha256: str) -> VoiceCentre:
    """The site's centre, or the shipped one where `path` is empty; raises `ModelError`."""
    if path:
        return VoiceCentre.load(Path(path), sha256)
    shipped = files("agent") / "models" / parameters.VOICE_CENTRE_FILE
    return VoiceCentre.load(Path(str(shipped)), parameters.VOICE_CENTRE_SHA256)
