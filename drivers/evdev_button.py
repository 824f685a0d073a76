"""Presence by a button: a key of an input device of the kernel that is pressed while somebody is asked to.

Source: Documentation/input/input.rst and include/uapi/linux/input.h of the Linux kernel.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hal import (
    Absence,
    Busy,
    Capability,
    Clock,
    Deadline,
    DeviceError,
    DeviceInfo,
    DeviceKind,
    Disconnected,
    NotFound,
    PermissionDenied,
    Presence,
    ProtocolError,
    SystemClock,
    Transport,
    Unsupported,
)

SYSFS = Path("/sys")
DEVICES = Path("/dev/input")

_EVENT = struct.Struct("llHHi")
"""struct input_event: seconds, microseconds, type, code, value."""

_EV_KEY, _PRESSED = 0x01, 1
_EVIOCGRAB = 0x40044590
_LARGEST_KEY = 0x2FF
_BUS_VIRTUAL = "0006"
_READ_EVENTS = 64
_KNOWN = frozenset({"device", "key", "grab"})

_REMEDY = "Correct the options of the driver; docs/agent.md lists them."
_ACCESS = "Add the service user to the group input, or install the udev rules that ship with Keyvigil."
_PRESS = "Press the button at the machine when it is asked for."


@dataclass(frozen=True)
class ButtonOptions:
    """`device` is an event node, best one of /dev/input/by-path; `key` a code of linux/input-event-codes.h.

    `grab` keeps the device's events from every other program while it is open.
    """

    device: Path | None = None
    key: int | None = None
    grab: bool = False

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> ButtonOptions:
        """Raises `DeviceError` naming the option at fault."""
        unknown = sorted(set(options) - _KNOWN)
        if unknown:
            raise DeviceError(f"the evdev-button driver has no option {unknown[0]!r}", remedy=_REMEDY)
        device, key, grab = options.get("device"), options.get("key"), options.get("grab", False)
        if device is not None and not (isinstance(device, str) and device.startswith("/") and "\0" not in device):
            raise DeviceError("option 'device' is not the path of an event node", remedy=_REMEDY)
        if key is not None and (isinstance(key, bool) or not isinstance(key, int) or not 1 <= key <= _LARGEST_KEY):
            raise DeviceError(f"option 'key' is {key!r}, not a key code from 1 to {_LARGEST_KEY}", remedy=_REMEDY)
        if not isinstance(grab, bool):
            raise DeviceError(f"option 'grab' is {grab!r}, not true or false", remedy=_REMEDY)
        return cls(Path(device) if device else None, key, grab)


class EvdevButtonDriver:
    """Finds and opens input devices; options as in `ButtonOptions`.

    `sysfs` and `devices` are where the kernel has them.
    """

    kind = DeviceKind.PRESENCE

    def __init__(self, sysfs: Path = SYSFS, devices: Path = DEVICES, clock: Clock | None = None) -> None:
        self._sysfs = sysfs
        self._devices = devices
        self._clock = clock or SystemClock()

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The device that `options` name, if it is there; without one, every input device that has the key."""
        wanted = ButtonOptions.parse(options)
        nodes = [wanted.device] if wanted.device else sorted(self._devices.glob("event*"))
        found = []
        for node in nodes:
            try:
                found.append(_described(node, node.stat(), self._sysfs, wanted))
            except (OSError, NotFound, Unsupported):
                continue
        return found

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> EvdevButton:
        """Open the device that `options` name; `device` and `key` are needed.

        Raises `NotFound`, `PermissionDenied`, `Unsupported` when it has not the key, `Busy` when it is grabbed.
        """
        wanted = ButtonOptions.parse(options)
        if wanted.device is None or wanted.key is None:
            missing = "device" if wanted.device is None else "key"
            raise DeviceError(f"option {missing!r} is missing", remedy=_REMEDY)
        if deadline is not None:
            deadline.check("opening the button")
        with _mapped_errors(f"opening {wanted.device}"):
            info = _described(wanted.device, wanted.device.stat(), self._sysfs, wanted)
            descriptor = os.open(wanted.device, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            if wanted.grab:
                with _mapped_errors(f"grabbing {wanted.device}"):
                    fcntl.ioctl(descriptor, _EVIOCGRAB, 1)
        except BaseException:
            os.close(descriptor)
            raise
        return EvdevButton(descriptor, wanted.key, info, self._clock)


class EvdevButton:
    """An opened input device with one key that counts. Made by `EvdevButtonDriver.open`."""

    def __init__(self, descriptor: int, key: int, info: DeviceInfo, clock: Clock) -> None:
        self._descriptor = descriptor
        self._key = key
        self._info = info
        self._clock = clock

    @property
    def info(self) -> DeviceInfo:
        """Who and where the device is."""
        return self._info

    def confirm(self, deadline: Deadline, on_ready: Callable[[], None] | None = None) -> Presence | Absence:
        """Wait for the key to go down; see `hal.PresenceSensor`.

        A press from before `on_ready` does not count, nor a key that was held since, whose repetitions alone arrive.
        """
        while self._events(deadline, wait=False):
            deadline.check("the button's earlier events")
        if on_ready is not None:
            on_ready()
        while True:
            events = self._events(deadline, wait=True)
            if any(event == (_EV_KEY, self._key, _PRESSED) for event in events):
                return Presence("button", f"key {self._key} of {self._info.name}", self._clock.monotonic_ns())
            if deadline.remaining() <= 0:
                return Absence("the button was not pressed", _PRESS)

    def close(self) -> None:
        """Release the device; closing twice is allowed."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _events(self, deadline: Deadline, *, wait: bool) -> list[tuple[int, int, int]]:
        """Events (type, code, value) as they come, none when there are none by the deadline."""
        if self._descriptor < 0:
            raise Disconnected("the button is closed")
        with _mapped_errors(f"reading {self._info.name}"):
            readable, _, _ = select.select([self._descriptor], [], [], deadline.remaining() if wait else 0)
            if not readable:
                return []
            data = os.read(self._descriptor, _READ_EVENTS * _EVENT.size)
        if not data:
            raise Disconnected(f"{self._info.name} was unplugged")
        if len(data) % _EVENT.size:
            raise ProtocolError(f"{self._info.name} gave {len(data)} bytes, which are no whole events")
        return [(kind, code, value) for _, _, kind, code, value in _EVENT.iter_unpack(data)]


def _described(node: Path, status: os.stat_result, sysfs: Path, wanted: ButtonOptions) -> DeviceInfo:
    """Identity of an event node from sysfs; raises `NotFound`, and `Unsupported` when it lacks the key."""
    place = sysfs / f"dev/char/{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    if not stat.S_ISCHR(status.st_mode) or not (place / "device/capabilities/key").is_file():
        raise NotFound(f"{node} is no input device of the kernel", remedy="Name a node of /dev/input/by-path.")
    name = _line(place / "device/name") or str(node)
    keys = _bits(_line(place / "device/capabilities/key"))
    if not keys or (wanted.key is not None and wanted.key not in keys):
        raise Unsupported(f"{name} has no key {wanted.key}", remedy="Name a key that it has; `evtest` shows them.")
    virtual = "/devices/virtual/" in str(place.resolve()) or _line(place / "device/id/bustype") == _BUS_VIRTUAL
    return DeviceInfo(
        kind=DeviceKind.PRESENCE,
        driver="evdev-button",
        transport=Transport.VIRTUAL if virtual else Transport.EVDEV,
        port=_line(place / "device/phys") or str(node),
        vendor_id=_line(place / "device/id/vendor"),
        product_id=_line(place / "device/id/product"),
        serial=_line(place / "device/uniq"),
        name=name,
        capabilities=frozenset() if wanted.grab else frozenset({Capability.SHARED}),
    )


def _bits(words: str) -> frozenset[int]:
    """Numbers of the set bits of a bitmap as sysfs prints it: hexadecimal longs, the most significant first."""
    width = struct.calcsize("l") * 8
    try:
        longs = [int(word, 16) for word in words.split()]
    except ValueError:
        return frozenset()
    return frozenset(
        place * width + bit for place, word in enumerate(reversed(longs)) for bit in range(width) if word >> bit & 1
    )


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


@contextmanager
def _mapped_errors(what: str) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise ProtocolError(f"{what}: it announced events and has none") from None
    except OSError as error:
        reason = f"{what}: {os.strerror(error.errno or 0)}"
        match error.errno:
            case errno.ENOENT | errno.ENXIO | errno.ENOTDIR:
                raise NotFound(reason) from None
            case errno.EACCES | errno.EPERM:
                raise PermissionDenied(reason, remedy=_ACCESS) from None
            case errno.EBUSY:
                raise Busy(reason) from None
            case errno.ENODEV | errno.EIO:
                raise Disconnected(reason) from None
            case errno.ENOTTY | errno.EINVAL:
                raise Unsupported(reason) from None
            case _:
                raise DeviceError(reason) from None
