"""USB/IP 1.1.1 as bytes: messages and descriptors, read without any I/O.

Every function takes whatever bytes a hostile server may send and either returns or raises `usb.core.USBError`.
Source: Linux Documentation/usb/usbip_protocol.rst; USB 2.0, chapter 9.6.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

from usb.core import USBError

VERSION = 0x0111
REQ_DEVLIST, REP_DEVLIST, REQ_IMPORT, REP_IMPORT = 0x8005, 0x0005, 0x8003, 0x0003
CMD_SUBMIT, CMD_UNLINK, RET_SUBMIT, RET_UNLINK = 1, 2, 3, 4
OUT, IN = 0, 1

OPERATION = struct.Struct("!HHI")
DEVICE = struct.Struct("!256s32sIIIHHHBBBBBB")
HEADER = struct.Struct("!IIIII")
RET_BODY = struct.Struct("!iI20x")
REPLY_BYTES = HEADER.size + RET_BODY.size
MAX_DEVICES = 256

_IMPORT_ERRNO = {1: errno.EBUSY, 2: errno.EBUSY, 4: errno.ENODEV}
_DEVICE_FIELDS = (
    "bLength bDescriptorType bcdUSB bDeviceClass bDeviceSubClass bDeviceProtocol bMaxPacketSize0 idVendor "
    "idProduct bcdDevice iManufacturer iProduct iSerialNumber bNumConfigurations"
)
_CONFIGURATION_FIELDS = (
    "bLength bDescriptorType wTotalLength bNumInterfaces bConfigurationValue iConfiguration bmAttributes bMaxPower"
)
_INTERFACE_FIELDS = (
    "bLength bDescriptorType bInterfaceNumber bAlternateSetting bNumEndpoints bInterfaceClass bInterfaceSubClass "
    "bInterfaceProtocol iInterface"
)
_ENDPOINT_FIELDS = "bLength bDescriptorType bEndpointAddress bmAttributes wMaxPacketSize bInterval"
_CONFIGURATION, _INTERFACE, _ENDPOINT = 2, 4, 5


@dataclass
class Remote:
    """A device of the server's list: its descriptor as far as the list tells, the real ones once it was imported."""

    bus_id: str
    device_id: int
    speed: int
    listed: bytes
    interfaces: int = 0
    device: bytes = b""
    configuration: bytes = field(default=b"", repr=False)

    @property
    def ids(self) -> tuple[int, int]:
        """Vendor and product as the list tells them."""
        vendor, product = struct.unpack_from("<HH", self.listed, 8)
        return vendor, product


class Reply(NamedTuple):
    """The head of a reply to a transfer or to its withdrawal; `size` bytes of data follow it."""

    command: int
    sequence: int
    status: int
    size: int


class Setting(NamedTuple):
    """An alternate setting of an interface: its descriptor, and those of its endpoints."""

    interface: bytes
    endpoints: tuple[bytes, ...]


def check_operation(raw: bytes, answer: int) -> None:
    """The 8-byte head of the answer to a list or an import; raises `USBError` for a refusal or another protocol."""
    version, got, status = _unpack(OPERATION, raw)
    if version != VERSION or got != answer:
        raise USBError("there is no USB/IP 1.1.1 server", errno=errno.EPROTO)
    if status:
        raise USBError("the USB/IP server refused", errno=_IMPORT_ERRNO.get(status, errno.EIO))


def device_count(raw: bytes) -> int:
    """How many devices a list of 4-byte count `raw` has."""
    (count,) = _unpack(struct.Struct("!I"), raw)
    if count > MAX_DEVICES:
        raise USBError("the USB/IP server lists too many devices", errno=errno.EPROTO)
    return int(count)


def device_entry(raw: bytes) -> Remote:
    """One 312-byte entry of the list; `interfaces` times four bytes follow it."""
    entry = _unpack(DEVICE, raw)
    bus_id, bus, number, speed, vendor, product, release = entry[1:8]
    ids = (vendor, product, release)
    known = struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0200, *entry[8:11], 64, *ids, 0, 0, 0, entry[12])
    name = bus_id.split(b"\0", 1)[0].decode("ascii", "replace")
    return Remote(name, (bus & 0xFFFF) << 16 | number & 0xFFFF, speed, known, entry[13])


def reply_head(raw: bytes, rooms: dict[int, int]) -> Reply:
    """The 48-byte head of a reply; `rooms` has the bytes that each transfer asked for, by sequence number.

    Raises `USBError` for a reply to nothing that was asked, or of more than was asked for.
    """
    if len(raw) != REPLY_BYTES:
        raise USBError("a USB/IP reply is cut short", errno=errno.EPROTO)
    command, sequence = HEADER.unpack_from(raw)[:2]
    status, actual = RET_BODY.unpack_from(raw, HEADER.size)
    room = rooms.get(sequence, -1)
    if command == RET_UNLINK:
        return Reply(command, sequence, status, 0)
    if command != RET_SUBMIT or room < 0 or (room and actual > room):
        raise USBError("the USB/IP server sent what the protocol does not allow", errno=errno.EPROTO)
    return Reply(command, sequence, status, actual if room else 0)


def device_fields(raw: bytes) -> SimpleNamespace:
    """The fields of a device descriptor, under their names in USB 2.0, table 9-8."""
    return _fields(_DEVICE_FIELDS, "<BBHBBBBHHHBBBB", raw)


def configuration_fields(raw: bytes) -> SimpleNamespace:
    """The fields of the configuration descriptor at the start of `raw` (table 9-10)."""
    return _fields(_CONFIGURATION_FIELDS, "<BBHBBBBB", raw)


def interface_fields(raw: bytes) -> SimpleNamespace:
    """The fields of an interface descriptor (table 9-12)."""
    return _fields(_INTERFACE_FIELDS, "<BBBBBBBBB", raw)


def endpoint_fields(raw: bytes) -> SimpleNamespace:
    """The fields of an endpoint descriptor (table 9-13)."""
    fields = _fields(_ENDPOINT_FIELDS, "<BBBBHB", raw)
    fields.bRefresh = fields.bSynchAddress = 0
    return fields


def total_length(head: bytes) -> int:
    """How many bytes a configuration has, by the nine of its first descriptor."""
    fields = configuration_fields(head)
    if fields.bDescriptorType != _CONFIGURATION or fields.wTotalLength < 9:
        raise USBError("a configuration descriptor makes no sense", errno=errno.EPROTO)
    return int(fields.wTotalLength)


def settings(configuration: bytes) -> tuple[tuple[Setting, ...], ...]:
    """The alternate settings of each interface, by interface number; descriptors of other types are left out."""
    found: list[tuple[bytes, list[bytes]]] = []
    raw = configuration
    while raw:
        if not 2 <= raw[0] <= len(raw):
            raise USBError("the descriptors of a configuration make no sense", errno=errno.EPROTO)
        one, raw = raw[: raw[0]], raw[raw[0] :]
        if one[1] == _INTERFACE and len(one) >= 9:
            found.append((one, []))
        elif one[1] == _ENDPOINT and len(one) >= 7 and found:
            found[-1][1].append(one)
        elif one[1] in (_INTERFACE, _ENDPOINT):
            raise USBError("an interface or endpoint descriptor is cut short", errno=errno.EPROTO)
    numbers = sorted({one[2] for one, _points in found})
    return tuple(tuple(Setting(one, tuple(points)) for one, points in found if one[2] == number) for number in numbers)


def checked(status: int, data: bytes) -> bytes:
    """`data` of a transfer that went well; the error code tells that the device, not the server, refused it."""
    if status:
        raise USBError("the USB transfer failed", error_code=status, errno=abs(status))
    return data


def _unpack(layout: struct.Struct, raw: bytes) -> tuple[Any, ...]:
    if len(raw) != layout.size:
        raise USBError("a USB/IP message is cut short", errno=errno.EPROTO)
    return layout.unpack(raw)


def _fields(names: str, layout: str, raw: bytes) -> SimpleNamespace:
    if len(raw) < struct.calcsize(layout):
        raise USBError("a descriptor is cut short", errno=errno.EPROTO)
    values = struct.unpack_from(layout, raw)
    return SimpleNamespace(**dict(zip(names.split(), values, strict=True)), extra_descriptors=[])
