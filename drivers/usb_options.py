"""What a node's configuration may say about a USB device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hal import DeviceError

_KNOWN_OPTIONS = ("vendor_id", "product_id", "port", "serial", "usbip")
_CONFIGURATION_REMEDY = "Correct the device's entry in the configuration."


@dataclass(frozen=True)
class UsbOptions:
    """The options of a USB driver, validated; `None` or an empty text leaves the choice open."""

    vendor_id: int | None = None
    product_id: int | None = None
    port: str = ""
    serial: str = ""
    usbip: tuple[str, int] | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> UsbOptions:
        """Read a node's configuration; raises `DeviceError` on an unknown key or a malformed value."""
        for key in options:
            if key not in _KNOWN_OPTIONS:
                raise DeviceError(
                    f"unknown option {key!r} for a USB device; known are {', '.join(_KNOWN_OPTIONS)}",
                    remedy=_CONFIGURATION_REMEDY,
                )
        return cls(
            vendor_id=_identifier(options, "vendor_id"),
            product_id=_identifier(options, "product_id"),
            port=_text(options, "port"),
            serial=_text(options, "serial"),
            usbip=_address(_text(options, "usbip")),
        )


def _identifier(options: Mapping[str, Any], key: str) -> int | None:
    value = options.get(key)
    if value is None:
        return None
    number = value
    if isinstance(value, str):
        with suppress(ValueError):
            number = int(value, 16)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 0xFFFF:
        raise DeviceError(
            f"option {key!r} is {value!r}, not a 16-bit USB identifier such as 0x05ba", remedy=_CONFIGURATION_REMEDY
        )
    return number


def _text(options: Mapping[str, Any], key: str) -> str:
    value = options.get(key, "")
    if not isinstance(value, str):
        raise DeviceError(f"option {key!r} is {value!r}, not a text", remedy=_CONFIGURATION_REMEDY)
    return value


def _address(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= 0xFFFF:
        raise DeviceError(f"option 'usbip' is {text!r}, not host:port", remedy=_CONFIGURATION_REMEDY)
    return host.strip("[]"), int(port)
