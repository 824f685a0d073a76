"""What a fuzz target is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A parser of bytes: `refusals` are the only errors it may raise, `seeds` well-formed inputs that it accepts."""

    name: str
    parse: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]

    def accepts(self, data: bytes) -> bool:
        """Whether `data` is parsed; any error that is no refusal is raised on."""
        try:
            self.parse(data)
        except self.refusals:
            return False
        return True
