"""How to find and open microphones."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from drivers.portaudio._backend import OPEN_STREAMS, Backend, load_backend, translate
from drivers.portaudio._identity import SYSFS, microphone_info
from drivers.portaudio._microphone import PortAudioMicrophone
from drivers.portaudio._options import CONFIGURE, MicrophoneOptions
from drivers.portaudio._recording import StreamSettings
from hal import Clock, Deadline, DeviceInfo, DeviceKind, NotFound, PermissionDenied, SystemClock, Unsupported

_DEVICES = Path("/dev/snd")


class PortAudioDriver:
    """Microphones that PortAudio knows.

    PortAudio reads the ALSA configuration (ALSA_CONFIG_PATH, ~/.asoundrc) when the driver is first used, and remembers
    the devices of that moment. A device that is not among them makes it look again, unless a stream is open.
    """

    kind = DeviceKind.MICROPHONE

    def __init__(
        self, clock: Clock | None = None, backend: Callable[[], Backend] = load_backend, sysfs: Path = SYSFS
    ) -> None:
        self._clock = clock or SystemClock()
        self._load = backend
        self._sysfs = sysfs

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """Every device that has an input; raises `Unsupported` where PortAudio is not installed."""
        MicrophoneOptions.parse(options)
        return [microphone_info(device, self._sysfs) for device in _inputs(self._load())]

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> PortAudioMicrophone:  # noqa: ARG002
        """Find the device and settle its rate; it is claimed when its blocks are iterated.

        Raises `NotFound`, `PermissionDenied`, `Busy`, `Unsupported`.
        """
        chosen = MicrophoneOptions.parse(options)
        backend = self._load()
        try:
            device = _choose(backend, chosen.device)
        except NotFound:
            OPEN_STREAMS.rescan(backend)
            device = _choose(backend, chosen.device)
        settings = _settle(backend, device, chosen)
        return PortAudioMicrophone(backend, settings, microphone_info(device, self._sysfs), chosen.rate, self._clock)


def _inputs(backend: Backend) -> Sequence[Mapping[str, Any]]:
    return [device for device in backend.query_devices() if device["max_input_channels"] > 0]


def _choose(backend: Backend, wanted: str | int | None) -> Mapping[str, Any]:
    """The device by index or name, else by a part of its name that fits no other."""
    inputs = _inputs(backend)
    if wanted is None:
        wanted = int(backend.default.device[0])
    if isinstance(wanted, int):
        found = [device for device in inputs if device["index"] == wanted]
    else:
        found = [device for device in inputs if device["name"] == wanted] or [
            device for device in inputs if wanted.lower() in device["name"].lower()
        ]
    if not found:
        raise _missing(wanted, inputs)
    if len(found) > 1:
        names = ", ".join(repr(device["name"]) for device in found)
        raise Unsupported(f"{wanted!r} fits more than one microphone: {names}", remedy=CONFIGURE)
    return found[0]


def _missing(wanted: str | int, inputs: Sequence[Mapping[str, Any]]) -> NotFound | PermissionDenied:
    if any(not os.access(node, os.R_OK) for node in _DEVICES.glob("pcm*c")):
        return PermissionDenied("no permission to open the sound devices", remedy="Add the user to the group audio.")
    names = ", ".join(repr(device["name"]) for device in inputs) or "none"
    what = "no default microphone" if wanted == -1 else f"no microphone {wanted!r}"
    return NotFound(f"{what}; microphones found: {names}")


def _settle(backend: Backend, device: Mapping[str, Any], chosen: MicrophoneOptions) -> StreamSettings:
    """The first of these that the device takes: the asked rate or its own, in mono or in all its channels."""
    native = int(device["default_samplerate"])
    refusal: Exception | None = None
    for channels in (1, int(device["max_input_channels"])):
        for rate in dict.fromkeys((chosen.rate, native)):
            try:
                backend.check_input_settings(device=device["index"], channels=channels, dtype="int16", samplerate=rate)
            except backend.PortAudioError as error:
                refusal = error
                continue
            return StreamSettings(device["index"], rate, channels, rate * chosen.block_ms // 1000, str(device["name"]))
    raise translate(refusal or ValueError(), f"microphone {device['name']!r}")
