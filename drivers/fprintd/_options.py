"""What the configuration may say about a reader behind fprintd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drivers.dbus_access import SYSTEM_BUS, bus_option
from hal import DeviceError

_KNOWN = frozenset({"bus", "name", "user", "vendor_id", "product_id", "serial", "port"})
_REMEDY = "Correct the options of the driver; docs/drivers/fprintd.md lists them."


@dataclass(frozen=True)
class FprintdOptions:
    """`name` chooses among readers; the USB fields say which device it must be; `user` is whose templates are used.

    `vendor_id` and `product_id` are four hexadecimal digits, `port` is a bus and port path as the kernel writes it
    ("1-2.3"). `user` is empty for the user of this process. `bus` is another bus than the system's: of a simulation.
    """

    bus: str = SYSTEM_BUS
    name: str = ""
    user: str = ""
    vendor_id: str = ""
    product_id: str = ""
    serial: str = ""
    port: str = ""

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> FprintdOptions:
        """Raises `DeviceError` naming the option at fault."""
        unknown = sorted(set(options) - _KNOWN)
        if unknown:
            raise DeviceError(f"the fprintd driver has no option {unknown[0]!r}", remedy=_REMEDY)
        texts = {key: _text(options, key) for key in _KNOWN - {"bus", "vendor_id", "product_id"}}
        identifiers = {key: _identifier(options, key) for key in ("vendor_id", "product_id")}
        return cls(bus=bus_option(options), **texts, **identifiers)

    @property
    def names_usb_device(self) -> bool:
        """Whether the configuration says which USB device the reader is."""
        return bool(self.vendor_id or self.product_id or self.serial or self.port)


def _text(options: Mapping[str, Any], key: str) -> str:
    value = options.get(key, "")
    if not isinstance(value, str) or "\0" in value or len(value) > 255:
        raise DeviceError(f"option {key!r} is not a text of at most 255 characters", remedy=_REMEDY)
    return value


def _identifier(options: Mapping[str, Any], key: str) -> str:
    value = options.get(key)
    if value is None:
        return ""
    number = value
    if isinstance(value, str):
        try:
            number = int(value, 16)
        except ValueError:
            number = -1
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 0xFFFF:
        raise DeviceError(f"option {key!r} is {value!r}, not a 16-bit USB identifier such as 0x05ba", remedy=_REMEDY)
    return f"{number:04x}"
