"""What a device must be able to do before the agent works with it."""

from __future__ import annotations

from typing import TypeVar, cast

from hal import Capability, Device, MatchOnlyReader, Unsupported

D = TypeVar("D", bound=Device)


def with_image(device: D) -> D:
    """`device`, which must deliver an image; it is closed otherwise, and `Unsupported` says what to use instead."""
    info = device.info
    if Capability.IMAGE in info.capabilities:
        return device
    device.close()
    reason = "only says whether a finger matched" if Capability.MATCH_ONLY in info.capabilities else "gives none"
    raise Unsupported(
        f"evidence needs the image of a finger, and {info.name or info.driver} {reason}",
        remedy="Configure a reader that delivers images, or this one under [devices.fingerprint-match]; "
        "docs/drivers/fprintd.md says what that is worth.",
    )


def with_match(device: Device) -> MatchOnlyReader:
    """`device`, which must compare by itself; it is closed otherwise, and `Unsupported` says what to use instead."""
    if Capability.MATCH_ONLY in device.info.capabilities:
        return cast(MatchOnlyReader, device)
    device.close()
    raise Unsupported(
        f"{device.info.name or device.info.driver} does not compare fingers by itself",
        remedy="Configure it under [devices.fingerprint]: a reader that delivers images is worth more.",
    )
