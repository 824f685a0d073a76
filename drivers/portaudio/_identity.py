"""Who and where a microphone is.

A microphone is announced as `ALSA` only when PortAudio reaches a sound card's own PCM, which it names `... (hw:C,D)`,
and sysfs shows card C on a bus. Every PCM that the ALSA configuration defines (type file, null, pulse, pipewire,
plug) may put other samples in the place of a microphone's, and the cards of snd-aloop and snd-dummy are software: these
are announced as `VIRTUAL`. A node in production therefore names the card's own PCM. Only a card's PCM belongs to one
program at a time; everything else has the capability `SHARED`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hal import Capability, DeviceInfo, DeviceKind, Transport

SYSFS = Path("/sys/class/sound")
_CARD = re.compile(r"\((hw:(\d+),\d+)\)$")
_SOFTWARE = re.compile(r"/platform/snd[_-]|/virtual/")


def microphone_info(device: Mapping[str, Any], sysfs: Path) -> DeviceInfo:
    """Identity of one entry of PortAudio's device list."""
    name = str(device["name"])
    card = _CARD.search(name)
    place = (sysfs / f"card{card[2]}" / "device") if card else None
    if card is None or place is None or not place.exists() or _SOFTWARE.search(str(place.resolve())):
        shared = frozenset[str]() if card else frozenset({Capability.SHARED})
        port = card[1] if card else name
        return DeviceInfo(DeviceKind.MICROPHONE, "portaudio", Transport.VIRTUAL, port, name=name, capabilities=shared)
    usb = place.resolve().parent
    return DeviceInfo(
        DeviceKind.MICROPHONE,
        "portaudio",
        Transport.ALSA,
        card[1],
        vendor_id=_attribute(usb / "idVendor"),
        product_id=_attribute(usb / "idProduct"),
        serial=_attribute(usb / "serial"),
        name=name,
    )


def _attribute(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
