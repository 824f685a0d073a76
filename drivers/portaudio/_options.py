"""What a configuration may say about a microphone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hal import Unsupported

CONFIGURE = "Correct the microphone's options in the configuration."
_RATES = range(8_000, 192_001)
_BLOCKS = range(5, 501)


@dataclass(frozen=True)
class MicrophoneOptions:
    """`device` is a name, a part of one that fits no other, or PortAudio's index; `None` the system's default.

    `rate` is in samples per second, as delivered to the caller; `block_ms` the length of a block in milliseconds.
    """

    device: str | int | None = None
    rate: int = 16_000
    block_ms: int = 20

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """From a configuration table; raises `Unsupported` for a key or value that is not understood."""
        for key in sorted(set(options) - {"device", "rate", "block_ms"}):
            raise Unsupported(f"unknown microphone option {key!r}; known are block_ms, device, rate", remedy=CONFIGURE)
        device = options.get("device")
        if device is not None and (not isinstance(device, str | int) or isinstance(device, bool) or device == ""):
            raise Unsupported(f"microphone option 'device' is {device!r}, no name and no index", remedy=CONFIGURE)
        rate = _within("rate", options.get("rate", cls.rate), _RATES)
        return cls(device, rate, _within("block_ms", options.get("block_ms", cls.block_ms), _BLOCKS))


def _within(key: str, value: Any, allowed: range) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise Unsupported(
            f"microphone option {key!r} is {value!r}, no integer from {allowed.start} to {allowed.stop - 1}",
            remedy=CONFIGURE,
        )
    return value
