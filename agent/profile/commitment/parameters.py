"""The code of each kind of embedding. Changing any number of this file needs a new `SCHEME`: shares carry it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec


class CodeParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A polar code of `k` in `n` bits that is decoded with a list of `list_size`.

    `k` places the point between false matches and false non-matches; it is no measure of security (docs/profiles.md).
    """

    n: int
    k: int
    list_size: int


CODES: Final[Mapping[str, CodeParameters]] = {
    "arcface": CodeParameters(n=512, k=80, list_size=16),
    "dlib-128": CodeParameters(n=512, k=144, list_size=16),
    "campplus-192": CodeParameters(n=512, k=64, list_size=16),
}
"""By `Bindable.code`."""


def parameters_for(code: str) -> CodeParameters:
    """The parameters of an embedding's code; raises `ValueError` for one that nobody has measured."""
    try:
        return CODES[code]
    except KeyError:
        raise ValueError(
            f"no parameters were measured for embeddings of the code {code!r}: it can be released, not bound"
        ) from None
