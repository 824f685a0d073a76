"""Devices that are attached but that no driver claims: readers without a driver, nodes without permission."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.diagnostics import v4l2
from agent.diagnostics.machine import Machine
from agent.diagnostics.udev import INSTALL_RULES, known_readers
from agent.log import printable
from hal import DeviceInfo

_HUB, _VIDEO, _AUDIO, _VENDOR_SPECIFIC = "09", "0e", "01", "ff"
_INTERFACE_FOLDER = re.compile(r".+:\d+\.\d+")
_HWDB = "/lib/udev/hwdb.d/60-autosuspend-libfprint-2.hwdb"
_HWDB_LINE = re.compile(r"usb:v([0-9A-F]{4})p([0-9A-F]{4})")
_HWDB_END = "# Known unsupported"

_READER_MAKERS = {
    "045e": "Microsoft",
    "04f3": "Elan",
    "05ba": "DigitalPersona",
    "06cb": "Synaptics",
    "08ff": "AuthenTec",
    "10a5": "FPC",
    "1162": "SecuGen",
    "138a": "Validity",
    "147e": "Upek",
    "1491": "Futronic",
    "16d1": "Suprema",
    "1c7a": "EgisTec",
    "27c6": "Goodix",
    "2808": "FocalTech",
    "298d": "NEXT Biometrics",
}
"""Vendors of fingerprint readers (USB-IF vendor list)."""
_SERIAL_MODULES = {"0403": "ftdi_sio", "067b": "pl2303", "10c4": "cp210x", "1a86": "ch341"}
"""Kernel modules of common USB serial adapters, by vendor."""


@dataclass(frozen=True)
class Unclaimed:
    """A device of interest that no driver claims: where it is (`bus`, `place`), what it is, and what mends it."""

    bus: str
    place: str
    name: str
    what: str
    remedy: str
    vendor_id: str = ""
    product_id: str = ""
    trouble: bool = True
    """Whether it is something to mend; a spare serial port is not."""


def unclaimed(machine: Machine, claimed: Iterable[DeviceInfo]) -> list[Unclaimed]:
    """Every attached device that may matter to Keyvigil and is not among `claimed`."""
    known = list(claimed)
    looks: tuple[Callable[[Machine, list[DeviceInfo]], Iterator[Unclaimed]], ...] = (_usb, _cameras, _serials, _tpms)
    return [found for look in looks for found in look(machine, known)]


@dataclass(frozen=True)
class _UsbDevice:
    port: str
    vendor: str
    product: str
    name: str
    node: Path
    interfaces: frozenset[tuple[str, str]]
    """Class and kernel driver ("" for none) of each interface."""

    def idle(self, interface_class: str) -> bool:
        return (interface_class, "") in self.interfaces


def usb_summary(machine: Machine) -> list[dict[str, Any]]:
    """Every USB device as sysfs describes it, hubs and serial numbers apart."""
    return [
        {
            "port": device.port,
            "identity": printable(f"{device.vendor}:{device.product}"),
            "name": printable(device.name),
            "interfaces": sorted(
                f"{printable(kind)} {printable(driver)}".strip() for kind, driver in device.interfaces
            ),
        }
        for device in _usb_devices(machine)
    ]


def _usb(machine: Machine, claimed: list[DeviceInfo]) -> Iterator[Unclaimed]:
    taken = {(info.vendor_id, info.product_id) for info in claimed}
    libfprint, ours = _libfprint_readers(machine), known_readers()
    for device in _usb_devices(machine):
        if (device.vendor, device.product) not in taken:
            told = _reader(machine, device, ours, libfprint) or _kernel_side(device)
            if told is not None:
                yield Unclaimed(
                    "usb", device.port, device.name, *told, vendor_id=device.vendor, product_id=device.product
                )


def _reader(
    machine: Machine, device: _UsbDevice, ours: Iterable[tuple[str, str]], libfprint: frozenset[tuple[str, str]]
) -> tuple[str, str] | None:
    """What to say of a fingerprint reader, `None` when it is none."""
    identity = (device.vendor, device.product)
    if identity in ours:
        if not machine.may_use(device.node):
            return "a fingerprint reader that this user may not open", INSTALL_RULES
        return "a fingerprint reader of ours that its driver does not see", _LIBUSB
    if identity in libfprint:
        return (
            "a fingerprint reader that libfprint knows",
            "Use the driver fprintd: sudo apt-get install fprintd; it says yes or no only, which is weak evidence.",
        )
    if device.vendor in _READER_MAKERS and device.idle(_VENDOR_SPECIFIC):
        return (
            f"perhaps a fingerprint reader ({_READER_MAKERS[device.vendor]}) that no driver knows",
            "Use a reader of docs/devices.md, or write a driver for this one (docs/writing-a-driver.md).",
        )
    return None


_LIBUSB = "Install libusb: sudo apt-get install libusb-1.0-0; if it is there, stop the program that holds the reader."


def _kernel_side(device: _UsbDevice) -> tuple[str, str] | None:
    """What to say of a camera, microphone or serial adapter for which the kernel has no driver."""
    if device.idle(_VIDEO):
        return "a camera without a kernel driver", "Load the driver: sudo modprobe uvcvideo"
    if device.idle(_AUDIO):
        return "an audio device without a kernel driver", "Load the driver: sudo modprobe snd-usb-audio"
    module = _SERIAL_MODULES.get(device.vendor)
    if module and device.idle(_VENDOR_SPECIFIC):
        return "a serial adapter without a kernel driver", f"Load the driver: sudo modprobe {module}"
    return None


def _usb_devices(machine: Machine) -> Iterator[_UsbDevice]:
    for folder in machine.entries("/sys/bus/usb/devices"):
        vendor = machine.text(folder / "idVendor")
        if not vendor or machine.text(folder / "bDeviceClass") == _HUB:
            continue
        maker, product = machine.text(folder / "manufacturer"), machine.text(folder / "product")
        yield _UsbDevice(
            port=folder.name,
            vendor=vendor,
            product=machine.text(folder / "idProduct"),
            name=f"{maker} {product}".strip(),
            node=_usb_node(machine, folder),
            interfaces=frozenset(_interfaces(machine, folder)),
        )


def _interfaces(machine: Machine, folder: Path) -> Iterator[tuple[str, str]]:
    for part in folder.glob("*"):
        if _INTERFACE_FOLDER.fullmatch(part.name):
            driver = part / "driver"
            yield machine.text(part / "bInterfaceClass"), driver.resolve().name if driver.exists() else ""


def _usb_node(machine: Machine, folder: Path) -> Path:
    bus, address = machine.text(folder / "busnum"), machine.text(folder / "devnum")
    return machine.path(f"/dev/bus/usb/{bus:0>3}/{address:0>3}")


def _libfprint_readers(machine: Machine) -> frozenset[tuple[str, str]]:
    """Vendor and product of the readers that the installed libfprint drives, from its own hardware database."""
    try:
        text = machine.path(_HWDB).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    supported = text.partition(_HWDB_END)[0]
    return frozenset((vendor.lower(), product.lower()) for vendor, product in _HWDB_LINE.findall(supported))


def _cameras(machine: Machine, claimed: list[DeviceInfo]) -> Iterator[Unclaimed]:
    ports = {info.port for info in claimed}
    for entry in machine.entries("/sys/class/video4linux", "video*"):
        place, name = f"/dev/{entry.name}", machine.text(entry / "name")
        node = machine.path(place)
        if not machine.may_use(node):
            yield Unclaimed("v4l2", place, name, "a camera node that this user may not open", _group("video"))
        elif place not in ports and v4l2.captures(node) is False:
            yield Unclaimed("v4l2", place, name, "a node without pictures (metadata, output)", "", trouble=False)
        elif place not in ports:
            yield Unclaimed(
                "v4l2", place, name, "a camera that no driver lists", "Name it as `source` of the driver opencv."
            )


def _serials(machine: Machine, claimed: list[DeviceInfo]) -> Iterator[Unclaimed]:
    ports = {info.port for info in claimed}
    for entry in machine.entries("/sys/class/tty"):
        place = f"/dev/{entry.name}"
        if not (entry / "device").exists() or machine.text(entry / "type") == "0" or place in ports:
            continue
        if not machine.path(place).exists() or not machine.text(entry / "dev"):
            continue
        if not machine.may_use(machine.path(place)):
            yield Unclaimed("serial", place, "", "a serial port that this user may not open", _group("dialout"))
        else:
            remedy = "If an R30x, AS608 or ZFM-20 reader is on it, name the port in the options of the driver ef01."
            yield Unclaimed("serial", place, "", "a serial port that nobody claims", remedy, trouble=False)


def _tpms(machine: Machine, claimed: list[DeviceInfo]) -> Iterator[Unclaimed]:
    ports = " ".join(info.port for info in claimed if info.vendor_id or info.name)
    for entry in machine.entries("/sys/class/tpm", "tpm[0-9]*"):
        place = f"/dev/tpmrm{entry.name.removeprefix('tpm')}"
        if machine.text(entry / "tpm_version_major") == "1":
            remedy = "Update the TPM to 2.0 in the firmware set-up, where the maker offers it; 1.2 cannot be used."
            yield Unclaimed("tpm", f"/dev/{entry.name}", "", "a TPM of version 1.2", remedy)
        elif not machine.path(place).exists():
            remedy = "Use a kernel with the TPM resource manager (4.12 or later), and check that udev made the node."
            yield Unclaimed("tpm", place, "", "a TPM without a resource-manager node", remedy)
        elif not machine.may_use(machine.path(place)):
            yield Unclaimed("tpm", place, "", "a TPM that this user may not use", _group("tss"))
        elif place not in ports:
            remedy = "Stop the program that holds it, and install what `keyvigil devices` lists as missing."
            yield Unclaimed("tpm", place, "", "a TPM that its driver does not see", remedy)


def _group(name: str) -> str:
    return f"Add the user to the group {name}: sudo usermod -aG {name} $USER, then log in again; or {INSTALL_RULES}"
