"""A pyusb backend whose bus consists of models in this process."""

from __future__ import annotations

import errno
import queue
import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace

from usb.backend import IBackend
from usb.core import USBError, USBTimeoutError

from simulators.devices.usb._model import Setup, UsbModel
from simulators.devices.usb._transfer import CompletionStatus, Stall, Transfer, Unplugged

_ERRNO = {CompletionStatus.GONE: errno.ENODEV, CompletionStatus.STALLED: errno.EPIPE}
_CLEAR_HALT_MS = 5000
"""USB_CTRL_SET_TIMEOUT of the Linux kernel."""


class _Handle:
    """An opened model; the identity under which its interface is claimed."""

    def __init__(self, model: UsbModel) -> None:
        self.model = model
        self.epoch = model.epoch


class InProcessBackend(IBackend):  # type: ignore[misc]  # pyusb is untyped
    """What `usb.core.find(backend=...)` wants, over `models`; ports count from 1-1 in the order given.

    `virtual` tells a driver that nothing behind this backend is hardware.
    """

    virtual = True

    def __init__(self, models: Sequence[UsbModel]) -> None:
        self._models = tuple(models)
        self._configurations: dict[UsbModel, bytes] = {}

    def enumerate_devices(self) -> list[UsbModel]:
        """The models that are plugged in."""
        return [model for model in self._models if model.plugged]

    def get_device_descriptor(self, model: UsbModel) -> SimpleNamespace:
        """The fields of the device descriptor, and where the device hangs.

        The configuration is read here too and kept, as the kernel does when a device is attached.
        """
        with _as_usb_errors():
            raw = model.control(Setup(0x80, 6, 0x0100, 0, 18), b"")
            self._configurations[model] = _configuration(model)
        names = (
            "bLength bDescriptorType bcdUSB bDeviceClass bDeviceSubClass bDeviceProtocol bMaxPacketSize0 idVendor "
            "idProduct bcdDevice iManufacturer iProduct iSerialNumber bNumConfigurations"
        )
        fields = _fields(names, "<BBHBBBBHHHBBBB", raw)
        number = self._models.index(model) + 1
        fields.bus, fields.address, fields.speed = 1, number, 2
        fields.port_number, fields.port_numbers = number, (number,)
        return fields

    def get_configuration_descriptor(self, model: UsbModel, index: int) -> SimpleNamespace:
        """The fields of the configuration descriptor."""
        names = "bLength bDescriptorType wTotalLength bNumInterfaces bConfigurationValue iConfiguration bmAttributes"
        return _fields(f"{names} bMaxPower", "<BBHBBBBB", _pick(self._configurations[model], 2, index))

    def get_interface_descriptor(self, model: UsbModel, interface: int, setting: int, _config: int) -> SimpleNamespace:
        """The fields of the one interface descriptor; raises `IndexError` past the last."""
        if setting:
            raise IndexError("one alternate setting only")
        names = "bLength bDescriptorType bInterfaceNumber bAlternateSetting bNumEndpoints bInterfaceClass"
        names += " bInterfaceSubClass bInterfaceProtocol iInterface"
        return _fields(names, "<BBBBBBBBB", _pick(self._configurations[model], 4, interface))

    def get_endpoint_descriptor(
        self, model: UsbModel, endpoint: int, _interface: int, _setting: int, _config: int
    ) -> SimpleNamespace:
        """The fields of an endpoint descriptor."""
        names = "bLength bDescriptorType bEndpointAddress bmAttributes wMaxPacketSize bInterval"
        fields = _fields(names, "<BBBBHB", _pick(self._configurations[model], 5, endpoint))
        fields.bRefresh = fields.bSynchAddress = 0
        return fields

    def open_device(self, model: UsbModel) -> _Handle:
        """A handle, which does not claim anything yet."""
        if not model.plugged:
            raise USBError("No such device", errno=errno.ENODEV)
        if model.forbidden:
            raise USBError("Access denied (insufficient permissions)", errno=errno.EACCES)
        return _Handle(model)

    def close_device(self, handle: _Handle) -> None:
        """Release whatever the handle claimed."""
        handle.model.release(handle)

    def get_configuration(self, _handle: _Handle) -> int:
        """The one configuration there is."""
        return 1

    def set_configuration(self, _handle: _Handle, _value: int) -> None:
        """Nothing: there is one configuration."""

    def claim_interface(self, handle: _Handle, _interface: int) -> None:
        """Claim; EBUSY when another handle holds the interface."""
        with _as_usb_errors(), handle.model.in_epoch(handle.epoch):
            claimed = handle.model.claim(handle)
        if not claimed:
            raise USBError("Resource busy", errno=errno.EBUSY)

    def release_interface(self, handle: _Handle, _interface: int) -> None:
        """Give the interface back."""
        handle.model.release(handle)

    def is_kernel_driver_active(self, _handle: _Handle, _interface: int) -> bool:
        """No kernel is involved."""
        return False

    def clear_halt(self, handle: _Handle, endpoint: int) -> None:
        """Let a halted endpoint go on; a device that does not answer is waited for as long as the kernel does."""
        setup = Setup(0x02, 1, 0, endpoint, 0)
        _transfer(handle, 0, 0, _CLEAR_HALT_MS, lambda one: handle.model.request(setup, b"", one))

    def ctrl_transfer(
        self, handle: _Handle, request_type: int, request: int, value: int, index: int, data: array[int], timeout: int
    ) -> int:
        """A control transfer; `data` is what to send, or the buffer to fill."""
        setup = Setup(request_type, request, value, index, len(data))
        inward = bool(request_type & 0x80)
        payload = b"" if inward else data.tobytes()
        reply = _transfer(handle, 0, len(data), timeout, lambda one: handle.model.request(setup, payload, one))
        if not inward:
            return len(data)
        data[: len(reply)] = array("B", reply)
        return len(reply)

    def bulk_write(self, handle: _Handle, endpoint: int, _interface: int, data: array[int], timeout: int) -> int:
        """Send to an OUT endpoint."""
        payload = data.tobytes()
        _transfer(handle, endpoint, 0, timeout, lambda one: handle.model.submit_out(endpoint, payload, one))
        return len(payload)

    def bulk_read(self, handle: _Handle, endpoint: int, _interface: int, buffer: array[int], timeout: int) -> int:
        """Wait up to `timeout` milliseconds for data on an IN endpoint; 0 waits for ever."""
        data = _transfer(handle, endpoint, len(buffer), timeout, lambda one: handle.model.submit(endpoint, one))
        buffer[: len(data)] = array("B", data)
        return len(data)

    intr_read = bulk_read
    intr_write = bulk_write


def _transfer(handle: _Handle, endpoint: int, length: int, timeout: int, begin: Callable[[Transfer], None]) -> bytes:
    """Begin a transfer and wait for its end, at most `timeout` milliseconds; what it read."""
    ended: queue.SimpleQueue[tuple[CompletionStatus, bytes]] = queue.SimpleQueue()
    transfer = Transfer(length, lambda status, data: ended.put((status, data)))
    with _as_usb_errors(), handle.model.in_epoch(handle.epoch):
        begin(transfer)
    try:
        status, data = ended.get(timeout=timeout / 1000 if timeout else None)
    except queue.Empty:
        if handle.model.cancel(endpoint, transfer):
            raise USBTimeoutError("Operation timed out", errno=errno.ETIMEDOUT) from None
        status, data = ended.get()
    if status is not CompletionStatus.DONE:
        raise USBError(status.name, errno=_ERRNO[status])
    return data


@contextmanager
def _as_usb_errors() -> Iterator[None]:
    try:
        yield
    except Unplugged:
        raise USBError("No such device", errno=errno.ENODEV) from None
    except Stall as stall:
        raise USBError(f"Pipe error: {stall}", errno=errno.EPIPE) from None


def _fields(names: str, layout: str, raw: bytes) -> SimpleNamespace:
    values = struct.unpack_from(layout, raw)
    return SimpleNamespace(**dict(zip(names.split(), values, strict=True)), extra_descriptors=[])


def _configuration(model: UsbModel) -> bytes:
    """The whole configuration, as long as its own head says; empty from a device that gives less than that."""
    with suppress(Stall):
        head = model.control(Setup(0x80, 6, 0x0200, 0, 9), b"")
        total = int.from_bytes(head[2:4], "little")
        raw = model.control(Setup(0x80, 6, 0x0200, 0, total), b"")
        if len(raw) == total:
            return raw
    return b""


def _pick(configuration: bytes, kind: int, index: int) -> bytes:
    """The descriptor number `index` of a kind inside a configuration."""
    found, raw = [], configuration
    while len(raw) >= 2 and 2 <= raw[0] <= len(raw):
        if raw[1] == kind:
            found.append(raw[: raw[0]])
        raw = raw[raw[0] :]
    return found[index]
