"""Which USB device stands behind a reader of fprintd, which does not say so itself.

libfprint installs a list of every USB device that it drives, for udev; the attached devices are in sysfs. Only where
the two leave no doubt is an identity given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from drivers.fprintd._options import FprintdOptions
from hal import NotFound

SYSFS = Path("/sys")
SUPPORTED = (
    Path("/usr/lib/udev/hwdb.d/60-autosuspend-libfprint-2.hwdb"),
    Path("/lib/udev/hwdb.d/60-autosuspend-libfprint-2.hwdb"),
)
"""Where libfprint's packages put the list of supported devices."""

_MODALIAS = re.compile(r"^usb:v([0-9A-F]{4})p([0-9A-F]{4})\*", re.MULTILINE)


@dataclass(frozen=True)
class UsbIdentity:
    """Of one attached USB device, as sysfs has it."""

    port: str
    vendor_id: str
    product_id: str
    serial: str = ""


NO_IDENTITY = UsbIdentity("", "", "")


@dataclass(frozen=True)
class UsbTree:
    """The USB devices below `sysfs`, and the lists of what libfprint supports."""

    sysfs: Path = SYSFS
    supported: tuple[Path, ...] = SUPPORTED

    def identity(self, wanted: FprintdOptions, readers: int) -> UsbIdentity:
        """Of the only reader, or of the device that the options name; `NO_IDENTITY` where several could be meant.

        `readers` is how many the daemon has. Raises `NotFound` when the device that is named is not attached.
        """
        found = [device for device in self._attached() if _fits(device, wanted)]
        if wanted.names_usb_device:
            if not found:
                raise NotFound("no USB device with the vendor, product, serial and port of the options is attached")
        else:
            supported = self._supported_ids()
            found = [device for device in found if (device.vendor_id, device.product_id) in supported]
        return found[0] if len(found) == 1 and readers == 1 else NO_IDENTITY

    def _attached(self) -> list[UsbIdentity]:
        root = self.sysfs / "bus/usb/devices"
        folders = sorted(root.iterdir()) if root.is_dir() else []
        identities = (
            UsbIdentity(folder.name, *(_line(folder / name) for name in ("idVendor", "idProduct", "serial")))
            for folder in folders
        )
        return [identity for identity in identities if identity.vendor_id and identity.product_id]

    def _supported_ids(self) -> frozenset[tuple[str, str]]:
        for path in self.supported:
            if path.is_file():
                pairs = _MODALIAS.findall(path.read_text(encoding="utf-8", errors="replace"))
                return frozenset((vendor.lower(), product.lower()) for vendor, product in pairs)
        return frozenset()


def _fits(device: UsbIdentity, wanted: FprintdOptions) -> bool:
    return (
        wanted.vendor_id in ("", device.vendor_id)
        and wanted.product_id in ("", device.product_id)
        and wanted.serial in ("", device.serial)
        and wanted.port in ("", device.port)
    )


def _line(path: Path) -> str:
    """An attribute of sysfs; empty where there is none, or where the device just left."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
