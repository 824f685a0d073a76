"""USB devices through pyusb: options, discovery, claiming, transfers under a deadline, one error tree.

Options of every USB driver: `vendor_id`, `product_id` (integer, or hexadecimal text), `port` ("1-2.3": bus and port
path), `serial`, and `usbip` ("host:port" of a USB/IP server). Each narrows the choice; none is needed when one device
is there.
"""

from __future__ import annotations

import errno
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import usb.core
import usb.util

from drivers.usb_options import UsbOptions
from drivers.usbip_client import UsbipBackend
from hal import (
    Busy,
    Capability,
    Deadline,
    DeviceError,
    DeviceInfo,
    DeviceKind,
    Disconnected,
    NotFound,
    PermissionDenied,
    ProtocolError,
    TimedOut,
    Transport,
    Unsupported,
)

_LIBUSB_REMEDY = "Install libusb: sudo apt-get install libusb-1.0-0"
_SIMULATED = "(simulated)"
_OPEN_SECONDS = 5.0
_LIST_SECONDS = 5.0
_STRING_SECONDS = 1.0
_INTERFACE = 0

_BY_ERRNO: dict[int, type[DeviceError]] = {
    errno.ENODEV: Disconnected,
    errno.ENOENT: Disconnected,
    errno.ESHUTDOWN: Disconnected,
    errno.ECONNRESET: Disconnected,
    errno.EIO: Disconnected,
    errno.EBUSY: Busy,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.ETIMEDOUT: TimedOut,
    errno.EPIPE: ProtocolError,
    errno.EOVERFLOW: ProtocolError,
    errno.EPROTO: ProtocolError,
    errno.EINVAL: ProtocolError,
    errno.ENOSYS: Unsupported,
    errno.ECONNREFUSED: NotFound,
    errno.EHOSTUNREACH: NotFound,
}
_MEANING = {
    Disconnected: "the device went away",
    Busy: "another program holds the device",
    PermissionDenied: "the operating system refused access",
    TimedOut: "the device did not answer in time",
    ProtocolError: "the device refused the transfer",
}


@dataclass(frozen=True)
class UsbFamily:
    """What a driver looks for: its name, the model's name, its identifiers, and the endpoints it talks to."""

    driver: str
    name: str
    ids: frozenset[tuple[int, int]]
    endpoints: frozenset[int]
    interface_class: tuple[int, int, int]
    capabilities: frozenset[Capability] = frozenset({Capability.IMAGE, Capability.FINGER_DETECT})


class UsbLink:
    """A claimed interface of a device: transfers that end by a deadline and fail with `DeviceError` only."""

    def __init__(self, device: Any, info: DeviceInfo) -> None:
        self._device = device
        self._open = True
        self.info = info

    def control_read(self, request: int, value: int, length: int, deadline: Deadline) -> bytes:
        """A vendor IN request of exactly `length` bytes; raises `ProtocolError` on fewer."""
        what = f"reading register {value:#06x}"
        deadline.check(what)
        with mapped_errors(what, self):
            reply = bytes(self._device.ctrl_transfer(0xC0, request, value, 0, length, milliseconds(deadline)))
        if len(reply) != length:
            raise ProtocolError(f"{what}: {len(reply)} bytes instead of {length}")
        return reply

    def control_write(self, request: int, value: int, data: bytes, deadline: Deadline) -> None:
        """A vendor OUT request."""
        what = f"writing register {value:#06x}"
        deadline.check(what)
        with mapped_errors(what, self):
            self._device.ctrl_transfer(0x40, request, value, 0, data, milliseconds(deadline))

    def read(self, endpoint: int, length: int, deadline: Deadline) -> bytes:
        """Up to `length` bytes from an IN endpoint; raises `TimedOut` when none came by the deadline."""
        what = f"reading endpoint {endpoint:#04x}"
        deadline.check(what)
        with mapped_errors(what, self), self._halt_cleared(endpoint):
            return bytes(self._device.read(endpoint, length, milliseconds(deadline)))

    def write(self, endpoint: int, data: bytes, deadline: Deadline) -> None:
        """All of `data` to an OUT endpoint."""
        what = f"writing endpoint {endpoint:#04x}"
        deadline.check(what)
        with mapped_errors(what, self), self._halt_cleared(endpoint):
            written = int(self._device.write(endpoint, data, milliseconds(deadline)))
        if written != len(data):
            raise ProtocolError(f"{what}: {written} of {len(data)} bytes taken")

    def drain(self, endpoint: int, length: int, deadline: Deadline) -> None:
        """Throw away what the device still had ready on an IN endpoint."""
        for _ in range(256):
            try:
                self.read(endpoint, length, deadline.within(0.005))
            except TimedOut:
                return
        raise ProtocolError(f"endpoint {endpoint:#04x} never falls silent")

    def require_open(self) -> None:
        """Raise `Disconnected` after `close()`."""
        if not self._open:
            raise Disconnected(f"{self.info.name} was closed", remedy="Open the device again.")

    @contextmanager
    def _halt_cleared(self, endpoint: int) -> Iterator[None]:
        """An endpoint that refused a transfer stays halted until the host clears it (USB 2.0, 9.4.5)."""
        try:
            yield
        except usb.core.USBError as error:
            if error.errno == errno.EPIPE:
                with suppress(usb.core.USBError, NotImplementedError):
                    self._device.clear_halt(endpoint)
            raise

    def close(self) -> None:
        """Release the interface and the handle; closing twice is allowed."""
        self._open = False
        _dispose(self._device)


def list_devices(family: UsbFamily, options: Mapping[str, Any], backend: Any = None) -> tuple[DeviceInfo, ...]:
    """The attached devices of `family` that `options` allow, within five seconds.

    A device whose strings cannot be read, because another program holds it, is listed without its serial number.
    Raises `Unsupported` without libusb, `NotFound` without the USB/IP server, `TimedOut`.
    """
    wanted, deadline = UsbOptions.parse(options), Deadline.after(_LIST_SECONDS)
    found = []
    for device in _candidates(family, wanted, backend, deadline):
        try:
            found.append(_identify(device, family, wanted, backend, deadline))
        except (Busy, PermissionDenied, Disconnected):
            found.append(_describe(device, family, wanted, backend, strings=("", "")))
        finally:
            _dispose(device)
    return tuple(info for info in found if not wanted.serial or info.serial in (wanted.serial, ""))


def open_device(
    family: UsbFamily, options: Mapping[str, Any], backend: Any = None, deadline: Deadline | None = None
) -> UsbLink:
    """Claim the device of `family` that `options` name, by `deadline` and within five seconds.

    Raises `NotFound`, `Busy`, `PermissionDenied`, `Unsupported`, `TimedOut`, and `ProtocolError` when the descriptors
    of the device are not those of the family.
    """
    wanted = UsbOptions.parse(options)
    within = deadline.within(_OPEN_SECONDS) if deadline else Deadline.after(_OPEN_SECONDS)
    candidates = _candidates(family, wanted, backend, within)
    refusal: DeviceError = NotFound(f"no {family.name} is attached{_where(wanted)}")
    for device in candidates:
        try:
            info = _identify(device, family, wanted, backend, within)
            _require_serial(info, wanted, unread_is_fine=True)
            _claim(device, family, within)
            _require_serial(info, wanted, unread_is_fine=False)
        except DeviceError as error:
            _dispose(device)
            refusal = error if isinstance(refusal, NotFound) else refusal
        except BaseException:
            _dispose(device)
            raise
        else:
            return UsbLink(device, info)
    raise refusal


@contextmanager
def mapped_errors(what: str, link: UsbLink | None = None) -> Iterator[None]:
    """Turn every error of pyusb into one of `hal`, its text beginning with `what`."""
    if link is not None:
        link.require_open()
    try:
        yield
    except usb.core.NoBackendError:
        raise Unsupported("the USB library libusb-1.0 is not installed", remedy=_LIBUSB_REMEDY) from None
    except usb.core.USBError as error:
        raise _translated(what, error) from error
    except NotImplementedError as error:
        raise Unsupported(f"{what}: the USB backend has no {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, struct.error) as error:
        raise ProtocolError(f"{what}: the device's descriptors make no sense ({type(error).__name__})") from error


def milliseconds(deadline: Deadline) -> int:
    """The time left as pyusb counts it: at least 1, because 0 would wait for ever."""
    return max(1, math.ceil(deadline.remaining() * 1000))


def _translated(what: str, error: usb.core.USBError) -> DeviceError:
    if isinstance(error, usb.core.USBTimeoutError):
        kind: type[DeviceError] = TimedOut
    else:
        kind = _BY_ERRNO.get(error.errno or 0, DeviceError)
    return kind(f"{what}: {_MEANING.get(kind, error.strerror or 'the transfer failed')}")


def _candidates(family: UsbFamily, wanted: UsbOptions, injected: Any, deadline: Deadline) -> list[Any]:
    """Unopened pyusb devices of the family at the wanted place, in the order of the bus."""
    what = "looking for USB devices"
    deadline.check(what)
    backend = injected
    if backend is None and wanted.usbip is not None:
        backend = UsbipBackend(*wanted.usbip, family.ids, deadline.remaining)
    with mapped_errors(what):
        return [device for device in usb.core.find(find_all=True, backend=backend) if _matches(device, family, wanted)]


def _matches(device: Any, family: UsbFamily, wanted: UsbOptions) -> bool:
    identifiers = (device.idVendor, device.idProduct)
    return (
        identifiers in family.ids
        and wanted.vendor_id in (None, identifiers[0])
        and wanted.product_id in (None, identifiers[1])
        and wanted.port in ("", _port(device))
    )


def _identify(device: Any, family: UsbFamily, wanted: UsbOptions, injected: Any, deadline: Deadline) -> DeviceInfo:
    strings = (_string(device, device.iProduct, deadline), _string(device, device.iSerialNumber, deadline))
    return _describe(device, family, wanted, injected, strings=strings)


def _describe(
    device: Any, family: UsbFamily, wanted: UsbOptions, injected: Any, *, strings: tuple[str, str]
) -> DeviceInfo:
    product, serial = strings
    flagged = getattr(injected, "virtual", False) if injected is not None else wanted.usbip is not None
    virtual = flagged or product.endswith(_SIMULATED)
    return DeviceInfo(
        kind=DeviceKind.FINGERPRINT,
        driver=family.driver,
        transport=Transport.VIRTUAL if virtual else Transport.USB,
        port=_port(device),
        vendor_id=f"{device.idVendor:04x}",
        product_id=f"{device.idProduct:04x}",
        serial=serial,
        name=product or family.name,
        capabilities=family.capabilities,
    )


def _require_serial(info: DeviceInfo, wanted: UsbOptions, *, unread_is_fine: bool) -> None:
    """Refuse another device than the one named; one whose holder hides its strings fails at claiming, as busy."""
    if not wanted.serial or info.serial == wanted.serial or (unread_is_fine and not info.serial):
        return
    raise NotFound(f"no {info.name} with serial number {wanted.serial!r} is attached{_where(wanted)}")


def _string(device: Any, index: int, deadline: Deadline) -> str:
    """A string descriptor, without what does not print; empty where the device has none or does not tell."""
    what = "reading the device's strings"
    deadline.check(what)
    if not index:
        return ""
    try:
        with mapped_errors(what):
            device.default_timeout = milliseconds(deadline.within(_STRING_SECONDS))
            language = device.langids[0]
            device.default_timeout = milliseconds(deadline.within(_STRING_SECONDS))
            text = str(usb.util.get_string(device, index, language) or "")
    except (ProtocolError, TimedOut, Unsupported):
        return ""
    return "".join(character for character in text if character.isprintable())


def _claim(device: Any, family: UsbFamily, deadline: Deadline) -> None:
    deadline.check(f"opening {family.name}")
    with mapped_errors(f"opening {family.name}"):
        interface = _configuration(device)[(_INTERFACE, 0)]
        shape = (interface.bInterfaceClass, interface.bInterfaceSubClass, interface.bInterfaceProtocol)
        endpoints = {endpoint.bEndpointAddress for endpoint in interface}
    if shape != family.interface_class or not family.endpoints <= endpoints:
        raise ProtocolError(f"the device at {_port(device)} has not the interface of {family.name}")
    _detach_kernel_driver(device)
    deadline.check(f"claiming {family.name}")
    with mapped_errors(f"claiming {family.name}"):
        usb.util.claim_interface(device, _INTERFACE)


def _configuration(device: Any) -> Any:
    """The active configuration; a device that has none yet is given its first."""
    try:
        return device.get_active_configuration()
    except usb.core.USBError as error:
        if error.errno is not None:
            raise
    device.set_configuration()
    return device.get_active_configuration()


def _detach_kernel_driver(device: Any) -> None:
    """Take the interface from a kernel driver; where that cannot be asked there is none, or claiming tells."""
    with suppress(NotImplementedError, usb.core.USBError):
        if device.is_kernel_driver_active(_INTERFACE):
            device.detach_kernel_driver(_INTERFACE)


def _dispose(device: Any) -> None:
    with suppress(usb.core.USBError):
        usb.util.dispose_resources(device)


def _port(device: Any) -> str:
    """Bus and port path as the kernel writes them, "1-2.3"; the address stands in where no path is known."""
    path = ".".join(str(number) for number in device.port_numbers or ()) or f"address-{device.address}"
    return f"{device.bus}-{path}"


def _where(wanted: UsbOptions) -> str:
    at_port = f" at port {wanted.port}" if wanted.port else ""
    server = f" to the USB/IP server {wanted.usbip[0]}:{wanted.usbip[1]}" if wanted.usbip else ""
    return server + at_port
