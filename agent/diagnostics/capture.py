"""One capture of one sensor, for a file and for the eye. What is made here is biometric data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from agent.config import Config
from agent.devices import DeviceReport
from agent.diagnostics import microphone, pictures
from agent.diagnostics.findings import Fact
from agent.diagnostics.fingerprint import PLACE
from agent.diagnostics.running import Note
from agent.diagnostics.targets import Target, configured_targets, found_targets
from agent.durable import PRIVATE_FILE
from agent.errors import ConfigError, StateError
from hal import (
    Camera,
    Capability,
    Deadline,
    Device,
    DeviceError,
    DeviceKind,
    FingerprintReader,
    Microphone,
    NotFound,
    Unsupported,
)

SUFFIXES = {DeviceKind.FINGERPRINT: ".png", DeviceKind.CAMERA: ".png", DeviceKind.MICROPHONE: ".wav"}
"""What a capture of each kind is stored as."""
_SETTLE_FRAMES = 3
_OPEN_S = 15.0


@dataclass(frozen=True)
class Captured:
    """One capture: the content of each file by suffix, the main one first; `picture` is for the terminal."""

    files: Mapping[str, bytes] = field(repr=False)
    picture: pictures.Pixels = field(repr=False)
    facts: Mapping[str, Fact]


def choose(kind: str, config: Config | None, reports: Sequence[DeviceReport]) -> Target:
    """The device of this kind: the configured one, or without a configuration the first that a driver sees.

    Raises `NotFound`, `Unsupported` for a kind without a picture, and `PermissionDenied` for a driver that is not the
    pinned one.
    """
    targets = found_targets(reports) if config is None else configured_targets(config)
    unusable: DeviceError | None = None
    for target in targets:
        try:
            kind_of_target = target.kind()
        except DeviceError as error:
            unusable = unusable or error
        except ImportError:
            continue
        else:
            if kind_of_target == kind:
                return _with_picture(target, kind)
    if kind not in {str(known) for known in DeviceKind}:
        raise ConfigError(
            f"no device is of kind {kind!r}", remedy=f"Name one of {', '.join(SUFFIXES)}, or the kind of your driver."
        )
    raise unusable or NotFound(f"there is no {kind} to capture from")


def _with_picture(target: Target, kind: str) -> Target:
    if kind not in SUFFIXES:
        raise Unsupported(
            f"there is no picture of what a device of kind {kind} gives",
            remedy=f"Capture one of {', '.join(SUFFIXES)}; `keyvigil diag` tests that it opens.",
        )
    return target


def check_target(out: Path, kind: str, config: Config | None) -> list[Path]:
    """The files that will be made; raises `ConfigError` for one that is there, or lies in the state directory."""
    suffix = SUFFIXES[DeviceKind(kind)]
    if out.suffix.lower() != suffix:
        raise ConfigError(f"a {kind} capture is stored as {suffix}", remedy=f"Name a file that ends in {suffix}.")
    files = [out] if suffix == ".png" else [out, out.with_suffix(".png")]
    for file in files:
        if os.path.lexists(file):
            raise ConfigError(f"{file} is there already", remedy="Name a file that does not exist.")
    parent = out.absolute().parent.resolve()
    if not parent.is_dir():
        raise ConfigError(f"{parent} is no folder", remedy="Make the folder first.")
    if config is not None and parent.is_relative_to(config.state_dir.resolve()):
        raise ConfigError(
            f"{out} lies in the state directory, where nothing raw is ever stored",
            remedy="Name a file elsewhere, and delete it when it has served.",
        )
    return files


def take(target: Target, kind: str, seconds: float, note: Note) -> Captured:
    """Capture within `seconds`, opening apart; raises what the driver raises, and `Unsupported` without a picture."""
    with target.open(Deadline.after(_OPEN_S)) as device:
        match kind:
            case DeviceKind.FINGERPRINT:
                return _impression(device, Deadline.after(seconds), note)
            case DeviceKind.CAMERA:
                return _frame(cast(Camera, device), Deadline.after(seconds))
            case _:
                note("Speak now.")
                return _sound(cast(Microphone, device), seconds)


def _impression(device: Device, deadline: Deadline, note: Note) -> Captured:
    if Capability.IMAGE not in device.info.capabilities:
        raise Unsupported("this reader compares by itself and gives no picture")
    reader = cast(FingerprintReader, device)
    image = reader.capture(deadline, lambda: note(PLACE))
    facts: dict[str, Fact] = {"width": image.pixels.shape[1], "height": image.pixels.shape[0], "dpi": image.dpi}
    with suppress(DeviceError):
        # Some readers stay lit until the finger has left.
        reader.wait_removed(Deadline.after(1.0))
    return Captured({".png": pictures.png(image.pixels, image.dpi)}, image.pixels, facts)


def _frame(camera: Camera, deadline: Deadline) -> Captured:
    for _ in range(_SETTLE_FRAMES):
        frame = camera.read(deadline)
    facts: dict[str, Fact] = {"width": frame.bgr.shape[1], "height": frame.bgr.shape[0]}
    return Captured({".png": pictures.png(frame.bgr)}, frame.bgr, facts)


def _sound(device: Microphone, seconds: float) -> Captured:
    blocks = microphone.record(device, Deadline.after(2 * seconds + _OPEN_S), seconds)
    rate = blocks[0].rate
    pcm = np.concatenate([block.pcm for block in blocks])[: int(seconds * rate)]
    plot = pictures.sound_plot(pcm, rate)
    facts: dict[str, Fact] = {"rate": rate, "samples": len(pcm), "level_dbfs": microphone.level(pcm)}
    return Captured({".wav": pictures.wav(pcm, rate), ".png": pictures.png(plot)}, plot, facts)


def store(files: Sequence[Path], captured: Captured) -> None:
    """Write every file anew with mode 0600; when one fails, none stays. Raises `StateError`."""
    made: list[Path] = []
    try:
        for path, content in zip(files, captured.files.values(), strict=True):
            descriptor = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE
            )
            made.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        raise StateError(f"{path}: {error.strerror}", remedy="Name a new file in a folder with room.") from None
