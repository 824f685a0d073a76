"""What all answers have in common."""

from __future__ import annotations

from typing import Annotated

import msgspec

Milli = Annotated[int, msgspec.Meta(ge=0, le=1000)]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that the open API answers."""
