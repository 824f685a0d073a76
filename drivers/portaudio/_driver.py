"""How to find and open microphones."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from drivers.portaudio._backend import OPEN_STREAMS, Backend, load_backend, translate
from drivers.portaudio._claim import DEVICES, CardClaim
from drivers.portaudio._identity import SYSFS, microphone_info
from drivers.portaudio._microphone import PortAudioMicrophone
from drivers.portaudio._options import CONFIGURE, MicrophoneOptions
from drivers.portaudio._patience import by_deadline
from drivers.portaudio._recording import StreamSettings
from hal import Clock, Deadline, DeviceInfo, DeviceKind, NotFound, PermissionDenied, SystemClock, Unsupported

_OPEN_SECONDS = 5.0
_COMMON_RATES = (48_000, 44_100)


class PortAudioDriver:
    """Microphones that PortAudio knows.

    PortAudio reads the ALSA configuration (ALSA_CONFIG_PATH, ~/.asoundrc) when the driver is first used, and remembers
    the devices of that moment. A device that is not among them makes it look again, unless a stream is open.
    """

    kind = DeviceKind.MICROPHONE

    def __init__(
        self,
        clock: Clock | None = None,
        backend: Callable[[], Backend] = load_backend,
        sysfs: Path = SYSFS,
        devices: Path = DEVICES,
    ) -> None:
        self._clock = clock or SystemClock()
        self._load = backend
        self._sysfs = sysfs
        self._devices = devices

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """Every device that has an input, within five seconds.

        Raises `Unsupported` where PortAudio is not installed, `TimedOut` when a sound server does not answer.
        """
        MicrophoneOptions.parse(options)
        return by_deadline("listing microphones", Deadline.after(_OPEN_SECONDS), self._look)

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> PortAudioMicrophone:
        """Find the device, settle its rate and claim it, by `deadline` and within five seconds.

        A sound card is claimed against a second opening at once, and against other programs when its blocks are
        iterated; what has the capability `SHARED` is not claimed.
        Raises `NotFound`, `PermissionDenied`, `Busy`, `Unsupported`, `TimedOut`.
        """
        chosen = MicrophoneOptions.parse(options)
        within = deadline.within(_OPEN_SECONDS) if deadline else Deadline.after(_OPEN_SECONDS)
        OPEN_STREAMS.settle(within)
        backend, device, settings = by_deadline("opening the microphone", within, partial(self._find, chosen))
        info = microphone_info(device, self._sysfs)
        claim = CardClaim(info, self._devices)
        return PortAudioMicrophone(backend, settings, info, chosen.rate, self._clock, claim)

    def _look(self) -> Sequence[DeviceInfo]:
        return [microphone_info(device, self._sysfs) for device in _inputs(self._load())]

    def _find(self, chosen: MicrophoneOptions) -> tuple[Backend, Mapping[str, Any], StreamSettings]:
        backend = self._load()
        try:
            device = _choose(backend, chosen.device, self._devices)
        except NotFound:
            OPEN_STREAMS.rescan(backend)
            device = _choose(backend, chosen.device, self._devices)
        return backend, device, _settle(backend, device, chosen)


def _inputs(backend: Backend) -> Sequence[Mapping[str, Any]]:
    try:
        return [device for device in backend.query_devices() if device["max_input_channels"] > 0]
    except backend.PortAudioError as error:
        raise translate(error, "listing microphones") from error


def _choose(backend: Backend, wanted: str | int | None, nodes: Path) -> Mapping[str, Any]:
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
        raise _missing(wanted, inputs, nodes)
    if len(found) > 1:
        names = ", ".join(repr(device["name"]) for device in found)
        raise Unsupported(f"{wanted!r} fits more than one microphone: {names}", remedy=CONFIGURE)
    return found[0]


def _missing(wanted: str | int, inputs: Sequence[Mapping[str, Any]], nodes: Path) -> NotFound | PermissionDenied:
    if any(not os.access(node, os.R_OK) for node in nodes.glob("pcm*c")):
        return PermissionDenied("no permission to open the sound devices", remedy="Add the user to the group audio.")
    names = ", ".join(repr(device["name"]) for device in inputs) or "none"
    what = "no default microphone" if wanted == -1 else f"no microphone {wanted!r}"
    return NotFound(f"{what}; microphones found: {names}")


def _settle(backend: Backend, device: Mapping[str, Any], chosen: MicrophoneOptions) -> StreamSettings:
    """The first of these that the device takes: the asked rate, its own or a usual one, in mono or in all its channels.

    `device_rate` leaves no choice of rate.
    """
    usual = (chosen.rate, int(device["default_samplerate"]), *_COMMON_RATES)
    rates = dict.fromkeys(usual if chosen.device_rate is None else (chosen.device_rate,))
    refusal: Exception | None = None
    for channels in (1, int(device["max_input_channels"])):
        for rate in rates:
            try:
                backend.check_input_settings(device=device["index"], channels=channels, dtype="int16", samplerate=rate)
            except backend.PortAudioError as error:
                refusal = error
                continue
            return StreamSettings(device["index"], rate, channels, rate * chosen.block_ms // 1000, str(device["name"]))
    raise translate(refusal or ValueError(), f"microphone {device['name']!r}")
