"""Who and where a serial port is.

A port counts as `UART` only when sysfs shows a device on a bus behind it. A pseudo-terminal has none, nor has any other
port that a program or a bare kernel module serves: those are announced as `VIRTUAL`, and so is a USB adapter that came
over USB/IP. A sensor does not tell who it is; what identifies the place is the USB adapter, where there is one.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from hal import Capability, DeviceInfo, DeviceKind, NotFound, Transport, Unsupported

SYSFS = Path("/sys")
NAME = "EF01 fingerprint reader"
_SIMULATED = re.compile(r"/devices/virtual/|/vhci_hcd|/dummy_hcd|/usbip-vudc")


def describe(port: str, status: os.stat_result, sysfs: Path) -> DeviceInfo:
    """The reader at `port`, whose node has `status`."""
    place = sysfs / "dev" / "char" / f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" / "device"
    real = place.resolve()
    virtual = not place.exists() or _SIMULATED.search(str(real)) is not None
    adapter = None if virtual else _usb_device(real, sysfs.resolve())
    return DeviceInfo(
        DeviceKind.FINGERPRINT,
        "ef01",
        Transport.VIRTUAL if virtual else Transport.UART,
        port,
        vendor_id=_attribute(adapter, "idVendor"),
        product_id=_attribute(adapter, "idProduct"),
        serial=_attribute(adapter, "serial"),
        name=f"{NAME} (simulated)" if virtual else NAME,
        capabilities=frozenset({Capability.IMAGE, Capability.FINGER_DETECT}),
    )


def require_serial_port(port: str) -> os.stat_result:
    """Status of the node; raises `NotFound` where there is none, `Unsupported` for what is no character device."""
    try:
        status = Path(port).stat()
    except OSError as error:
        raise NotFound(
            f"there is no serial port {port}: {error.strerror}",
            remedy="Plug the reader's adapter in; `ls -l /dev/serial/by-id` shows the adapters that are there.",
        ) from None
    if not stat.S_ISCHR(status.st_mode):
        raise Unsupported(f"{port} is no serial port", remedy="Name the port's device node in option 'port'.")
    return status


def _usb_device(place: Path, root: Path) -> Path | None:
    """The nearest USB device above a port."""
    above = (folder for folder in (place, *place.parents) if root in folder.parents)
    return next((folder for folder in above if (folder / "idVendor").is_file()), None)


def _attribute(folder: Path | None, name: str) -> str:
    if folder is None:
        return ""
    try:
        return (folder / name).read_text(errors="replace").strip()
    except OSError:
        return ""
