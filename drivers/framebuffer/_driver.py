"""Finding and opening framebuffers."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.framebuffer._display import FramebufferDisplay
from drivers.framebuffer._errors import mapped_errors
from drivers.framebuffer._layout import Ioctl, Layout, read_layout
from hal import Clock, Deadline, DeviceError, DeviceInfo, DeviceKind, SystemClock, Transport

DEVICES = Path("/dev")
SYSFS = Path("/sys")
_KNOWN = frozenset({"device"})
_REMEDY = "Correct the options of the driver; docs/agent.md lists them."
_VIRTUAL = "Virtual FB"
"""The name of the kernel's framebuffer without a screen (drivers/video/fbdev/vfb.c)."""


@dataclass(frozen=True)
class ScreenOptions:
    """`device` is a framebuffer node; without it, the first there is."""

    device: Path | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> ScreenOptions:
        """Raises `DeviceError` naming the option at fault."""
        unknown = sorted(set(options) - _KNOWN)
        if unknown:
            raise DeviceError(f"the framebuffer driver has no option {unknown[0]!r}", remedy=_REMEDY)
        device = options.get("device")
        if device is not None and not (isinstance(device, str) and device.startswith("/") and "\0" not in device):
            raise DeviceError("option 'device' is not the path of a framebuffer node", remedy=_REMEDY)
        return cls(Path(device) if device else None)


class FramebufferDriver:
    """Finds and opens framebuffers; options as in `ScreenOptions`.

    `devices` and `sysfs` are where the kernel has them, `ioctl` how it is asked.
    """

    kind = DeviceKind.DISPLAY

    def __init__(
        self,
        devices: Path = DEVICES,
        sysfs: Path = SYSFS,
        ioctl: Ioctl = fcntl.ioctl,
        clock: Clock | None = None,
    ) -> None:
        self._devices = devices
        self._sysfs = sysfs
        self._ioctl = ioctl
        self._clock = clock or SystemClock()

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The framebuffers that are there, or the one that `options` name; they are not opened."""
        wanted = ScreenOptions.parse(options)
        return [self._described(node) for node in self._nodes(wanted) if node.exists()]

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> FramebufferDisplay:
        """Claim a framebuffer and keep what it shows.

        Raises `NotFound`, `PermissionDenied`, `Unsupported` for one without true colours, `Busy` when it is claimed.
        """
        nodes = self._nodes(ScreenOptions.parse(options))
        node = nodes[0] if nodes else self._devices / "fb0"
        if deadline is not None:
            deadline.check("opening the screen")
        with mapped_errors(f"opening {node}"):
            descriptor = os.open(node, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            with mapped_errors(f"claiming {node}"):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with mapped_errors(f"asking {node} what it is"):
                layout = read_layout(descriptor, self._ioctl)
            return FramebufferDisplay(descriptor, layout, self._described(node, layout), self._clock, self._ioctl)
        except BaseException:
            os.close(descriptor)
            raise

    def _nodes(self, wanted: ScreenOptions) -> Sequence[Path]:
        if wanted.device is not None:
            return [wanted.device]
        return sorted(self._devices.glob("fb[0-9]*"), key=lambda node: (len(node.name), node.name))

    def _described(self, node: Path, layout: Layout | None = None) -> DeviceInfo:
        name = layout.name if layout is not None else self._name(node)
        real = _is_character_device(node) and name != _VIRTUAL
        return DeviceInfo(
            kind=DeviceKind.DISPLAY,
            driver="framebuffer",
            transport=Transport.FBDEV if real else Transport.VIRTUAL,
            port=str(node),
            name=name,
        )

    def _name(self, node: Path) -> str:
        try:
            return (self._sysfs / "class/graphics" / node.name / "name").read_text(errors="replace").strip()
        except OSError:
            return ""


def _is_character_device(node: Path) -> bool:
    try:
        return stat.S_ISCHR(node.stat().st_mode)
    except OSError:
        return False
