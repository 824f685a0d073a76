"""Microphones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hal._values import Deadline, Device


@dataclass(frozen=True)
class AudioBlock:
    """`pcm` is int16 `[n]`; `overflow` tells that samples were lost before this block."""

    pcm: NDArray[np.int16]
    rate: int
    sequence: int
    captured_ns: int
    overflow: bool = False


class Microphone(Device, Protocol):
    """A microphone that records while its blocks are iterated."""

    def blocks(self, deadline: Deadline) -> Iterator[AudioBlock]:
        """Blocks as they arrive until the consumer stops; raises `TimedOut` at the deadline, `Disconnected`."""
        ...
