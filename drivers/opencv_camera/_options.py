"""What a configuration may say about a camera."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from hal import CameraFormat, Unsupported

CONFIGURE = "Correct the camera's options in the configuration."
_KINDS: dict[str, type] = {
    "source": str,
    "width": int,
    "height": int,
    "fps": float,
    "fourcc": str,
    "warmup_frames": int,
    "settle_seconds": float,
}
_LARGEST = 100_000


@dataclass(frozen=True)
class CameraOptions:
    """`source` is a node (`/dev/videoN`, or udev's name for one below `/dev/v4l/`), an `http://` address, a video file,
    an image folder or a pattern (`face_%03d.png`).

    `format.fps` sets the pace of files and folders; 0 takes the file's own, or the node's. `warmup_frames` are thrown
    away after opening. `settle_seconds` is the longest wait for an exposure at rest, 0 for none; `None`, the default,
    is 2 s for a node and none for everything else.
    """

    source: str = "/dev/video0"
    format: CameraFormat = field(default_factory=lambda: CameraFormat(fps=0.0))
    warmup_frames: int = 0
    settle_seconds: float | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """From a configuration table; raises `Unsupported` for a key or value that is not understood."""
        for key in sorted(set(options) - set(_KINDS)):
            raise Unsupported(f"unknown camera option {key!r}; known are {', '.join(sorted(_KINDS))}", remedy=CONFIGURE)
        values = {key: _converted(key, value) for key, value in options.items()}
        if len(values.get("fourcc", "")) not in {0, 4}:
            raise Unsupported(f"camera option 'fourcc' is {values['fourcc']!r}, not four characters", remedy=CONFIGURE)
        asked = {key: values[key] for key in ("width", "height", "fourcc") if key in values}
        rest = {key: values[key] for key in ("source", "warmup_frames", "settle_seconds") if key in values}
        return cls(format=CameraFormat(fps=values.get("fps", 0.0), **asked), **rest)


def _converted(key: str, value: Any) -> Any:
    kind = _KINDS[key]
    right = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    if right and kind is not str:
        right = math.isfinite(value) and 0 <= value <= _LARGEST
    if not right:
        raise Unsupported(f"camera option {key!r} is {value!r}, which is no valid {kind.__name__}", remedy=CONFIGURE)
    return kind(value)
