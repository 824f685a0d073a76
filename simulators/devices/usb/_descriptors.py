"""Standard descriptors of a device with one configuration and one interface (USB 2.0, chapter 9.6)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

DEVICE, CONFIGURATION, STRING, INTERFACE, ENDPOINT = 1, 2, 3, 4, 5
"""Descriptor types (USB 2.0, table 9-5)."""

_ENGLISH_US = 0x0409


class TransferType(IntEnum):
    """The transfer types an endpoint may have, as `bmAttributes` codes them."""

    BULK = 2
    INTERRUPT = 3


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: `address` has bit 7 set for IN; `interval` in frames, for interrupt endpoints."""

    address: int
    transfer: TransferType
    packet_size: int = 64
    interval: int = 0

    def pack(self) -> bytes:
        """The endpoint descriptor, 7 bytes."""
        return struct.pack("<BBBBHB", 7, ENDPOINT, self.address, self.transfer, self.packet_size, self.interval)


@dataclass(frozen=True)
class UsbLayout:
    """Identity and shape of a device: identifiers, strings, interface class triple, endpoints."""

    vendor_id: int
    product_id: int
    manufacturer: str
    product: str
    interface_class: tuple[int, int, int]
    endpoints: tuple[Endpoint, ...]
    serial: str = ""
    release: int = 0x0100

    def device_descriptor(self) -> bytes:
        """The device descriptor, 18 bytes; strings 1 to 3 are manufacturer, product and serial number."""
        ids = (self.vendor_id, self.product_id, self.release)
        return struct.pack("<BBHBBBBHHHBBBB", 18, DEVICE, 0x0200, 0, 0, 0, 64, *ids, 1, 2, 3 if self.serial else 0, 1)

    def configuration_descriptor(self) -> bytes:
        """The configuration descriptor followed by the interface and its endpoints."""
        count = len(self.endpoints)
        interface = struct.pack("<BBBBBBBBB", 9, INTERFACE, 0, 0, count, *self.interface_class, 0)
        body = interface + b"".join(endpoint.pack() for endpoint in self.endpoints)
        return struct.pack("<BBHBBBBB", 9, CONFIGURATION, 9 + len(body), 1, 1, 0, 0x80, 50) + body

    def string_descriptor(self, index: int) -> bytes | None:
        """String `index`, or the list of languages for 0; `None` where there is no such string."""
        if index == 0:
            return struct.pack("<BBH", 4, STRING, _ENGLISH_US)
        texts = {1: self.manufacturer, 2: self.product, 3: self.serial}
        if not texts.get(index):
            return None
        encoded = texts[index].encode("utf-16-le")
        return bytes([2 + len(encoded), STRING]) + encoded
