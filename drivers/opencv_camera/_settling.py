"""When a picture is worth handing out: after the warm-up, and once the exposure has come to rest."""

from __future__ import annotations

import itertools
from collections import deque

from drivers.opencv_camera._source import Picture
from hal import Clock

_WINDOW = 6
_STEADY_LEVELS = 2.0
_STEADY_SHARE = 0.02
_MOST_FRAMES = 90
_STRIDE = 8


class Settling:
    """Skips `warmup_frames` frames, then those of an exposure that still moves.

    It has settled when the mean brightness of the last six frames moves by at most 2 % or 2 grey levels; two
    neighbours are averaged before, for infrared cameras that light every other frame only. Ends in any case after 90
    frames or `seconds`, whichever is first: a person who moves is no reason to wait for ever.
    """

    def __init__(self, warmup_frames: int, seconds: float, clock: Clock) -> None:
        self._to_skip = warmup_frames
        self._frames = _MOST_FRAMES if seconds else 0
        self._limit_ns = int(seconds * 1e9)
        self._clock = clock
        self._since_ns: int | None = None
        self._levels: deque[float] = deque(maxlen=_WINDOW)

    def admits(self, picture: Picture) -> bool:
        """Whether this frame may be handed out; asked once for each, in order."""
        if self._to_skip:
            self._to_skip -= 1
            return False
        if not self._frames:
            return True
        now = self._clock.monotonic_ns()
        self._since_ns = now if self._since_ns is None else self._since_ns
        self._frames -= 1
        self._levels.append(float(picture[::_STRIDE, ::_STRIDE].mean()))
        if self._is_steady() or now - self._since_ns >= self._limit_ns:
            self._frames = 0
        return not self._frames

    def _is_steady(self) -> bool:
        if len(self._levels) < _WINDOW:
            return False
        levels = list(self._levels)
        pairs = [(one + other) / 2 for one, other in itertools.pairwise(levels)]
        return max(pairs) - min(pairs) <= max(_STEADY_LEVELS, _STEADY_SHARE * max(pairs))
