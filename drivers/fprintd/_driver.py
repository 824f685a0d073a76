"""Finding and claiming readers of fprintd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drivers.dbus_access import NOTHING, SYSTEM_BUS, ServiceLink
from drivers.fprintd._errors import INSTALL, mapped_errors
from drivers.fprintd._options import FprintdOptions
from drivers.fprintd._reader import DEVICE, FprintdReader
from drivers.fprintd._usb import NO_IDENTITY, UsbIdentity, UsbTree
from hal import (
    Capability,
    Clock,
    Deadline,
    DeviceInfo,
    DeviceKind,
    NotFound,
    ProtocolError,
    SystemClock,
    Transport,
)

SERVICE = "net.reactivated.Fprint"
_MANAGER_PATH, _MANAGER = "/net/reactivated/Fprint/Manager", "net.reactivated.Fprint.Manager"
_OPEN_SECONDS = 15.0
"""For the bus to start the daemon, and the daemon to open the reader."""

_VIRTUAL_PREFIX = "Virtual "
"""How libfprint names the readers that exist in software only."""


class FprintdDriver:
    """Finds and opens readers of fprintd; options as in `FprintdOptions`. `usb` is where their identity is read."""

    kind = DeviceKind.FINGERPRINT

    def __init__(self, usb: UsbTree | None = None, clock: Clock | None = None) -> None:
        self._usb = usb or UsbTree()
        self._clock = clock or SystemClock()

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The readers that fprintd has; raises `NotFound` when there is no fprintd."""
        wanted = FprintdOptions.parse(options)
        deadline = Deadline.after(_OPEN_SECONDS, self._clock)
        link = _linked(wanted, deadline)
        try:
            return list(self._readers(link, wanted, deadline).values())
        finally:
            link.close()

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> FprintdReader:
        """Claim the reader that `options` name, or the first.

        Raises `NotFound`, `Busy`, `PermissionDenied`, `TimedOut`, `Disconnected`.
        """
        wanted = FprintdOptions.parse(options)
        within = deadline or Deadline.after(_OPEN_SECONDS, self._clock)
        within = within.within(_OPEN_SECONDS)
        link = _linked(wanted, within)
        try:
            path, info = next(iter(self._readers(link, wanted, within).items()), ("", None))
            if info is None:
                raise NotFound("fprintd has no such reader", remedy="Plug it in; `fprintd-list` shows those it knows.")
            link.subscribe(path, DEVICE, within)
            with mapped_errors(f"claiming {info.name}"):
                link.call(path, DEVICE, "Claim", ("s", (wanted.user,)), "", within)
            return FprintdReader(link, path, info, wanted.user, self._clock)
        except BaseException:
            link.close()
            raise

    def _readers(self, link: ServiceLink, wanted: FprintdOptions, deadline: Deadline) -> dict[str, DeviceInfo]:
        """Readers by object path, those only that `wanted` names."""
        with mapped_errors("looking for readers"):
            (paths,) = link.call(_MANAGER_PATH, _MANAGER, "GetDevices", NOTHING, "ao", deadline)
            names = {path: _name(link, path, deadline) for path in sorted(paths)}
        real = [path for path, name in names.items() if not name.startswith(_VIRTUAL_PREFIX)]
        usb = self._usb.identity(wanted, len(real)) if real or wanted.names_usb_device else NO_IDENTITY
        return {
            path: _described(name, usb if path in real else NO_IDENTITY, wanted)
            for path, name in names.items()
            if wanted.name in ("", name) and (path in real or not wanted.names_usb_device)
        }


def _linked(wanted: FprintdOptions, deadline: Deadline) -> ServiceLink:
    return ServiceLink(wanted.bus, SERVICE, deadline, missing=INSTALL)


def _name(link: ServiceLink, path: str, deadline: Deadline) -> str:
    _, name = link.properties(path, DEVICE, deadline).get("name", ("", None))
    if not isinstance(name, str):
        raise ProtocolError(f"the reader {path} of fprintd has no name")
    return name


def _described(name: str, usb: UsbIdentity, wanted: FprintdOptions) -> DeviceInfo:
    virtual = name.startswith(_VIRTUAL_PREFIX) or wanted.bus != SYSTEM_BUS
    return DeviceInfo(
        kind=DeviceKind.FINGERPRINT,
        driver="fprintd",
        transport=Transport.VIRTUAL if virtual else Transport.SYSTEM,
        port=usb.port or "fprintd",
        vendor_id=usb.vendor_id,
        product_id=usb.product_id,
        serial=usb.serial,
        name=name,
        capabilities=frozenset({Capability.MATCH_ONLY}),
    )
