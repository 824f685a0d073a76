"""What a configuration may say about a microphone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hal import Unsupported

CONFIGURE = "Correct the microphone's options in the configuration."
_KNOWN = frozenset({"device", "rate", "block_ms", "device_rate"})
_RATES = range(8_000, 192_001)
_BLOCKS = range(5, 501)


@dataclass(frozen=True)
class MicrophoneOptions:
    """`device` is a name, a part of one that fits no other, or PortAudio's index; `None` the system's default.

    `rate` is in samples per second, as delivered to the caller; `block_ms` the length of a block in milliseconds.
    `device_rate` is the rate at which the device is to run, where it takes the caller's but does it badly.
    """

    device: str | int | None = None
    rate: int = 16_000
    block_ms: int = 20
    device_rate: int | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """From a configuration table; raises `Unsupported` for a key or value that is not understood."""
        for key in sorted(set(options) - _KNOWN):
            known = ", ".join(sorted(_KNOWN))
            raise Unsupported(f"unknown microphone option {key!r}; known are {known}", remedy=CONFIGURE)
        device = options.get("device")
        if device is not None and (not isinstance(device, str | int) or isinstance(device, bool) or device == ""):
            raise Unsupported(f"microphone option 'device' is {device!r}, no name and no index", remedy=CONFIGURE)
        rate = _within("rate", options.get("rate", cls.rate), _RATES)
        block_ms = _within("block_ms", options.get("block_ms", cls.block_ms), _BLOCKS)
        native = options.get("device_rate")
        return cls(device, rate, block_ms, None if native is None else _within("device_rate", native, _RATES))


def _within(key: str, value: Any, allowed: range) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise Unsupported(
            f"microphone option {key!r} is {value!r}, no integer from {allowed.start} to {allowed.stop - 1}",
            remedy=CONFIGURE,
        )
    return value
