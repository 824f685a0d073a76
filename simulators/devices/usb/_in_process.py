"""A pyusb backend whose bus consists of models in this process."""

from __future__ import annotations

import errno
import queue
import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

from usb.backend import IBackend
from usb.core import USBError, USBTimeoutError

from simulators.devices.usb._model import CompletionStatus, Setup, Stall, Transfer, Unplugged, UsbModel

_ERRNO = {CompletionStatus.GONE: errno.ENODEV, CompletionStatus.STALLED: errno.EPIPE}


class _Handle:
    """An opened model; the identity under which its interface is claimed."""

    def __init__(self, model: UsbModel) -> None:
        self.model = model


class InProcessBackend(IBackend):  # type: ignore[misc]  # pyusb is untyped
    """What `usb.core.find(backend=...)` wants, over `models`; ports count from 1-1 in the order given.

    `virtual` tells a driver that nothing behind this backend is hardware.
    """

    virtual = True

    def __init__(self, models: Sequence[UsbModel]) -> None:
        self._models = tuple(models)

    def enumerate_devices(self) -> list[UsbModel]:
        """The models that are plugged in."""
        return [model for model in self._models if model.plugged]

    def get_device_descriptor(self, model: UsbModel) -> SimpleNamespace:
        """The fields of the device descriptor, and where the device hangs."""
        with _as_usb_errors():
            raw = model.control(Setup(0x80, 6, 0x0100, 0, 18), b"")
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
        return _fields(f"{names} bMaxPower", "<BBHBBBBB", _pick(model, 2, index))

    def get_interface_descriptor(self, model: UsbModel, interface: int, setting: int, _config: int) -> SimpleNamespace:
        """The fields of the one interface descriptor; raises `IndexError` past the last."""
        if setting:
            raise IndexError("one alternate setting only")
        names = "bLength bDescriptorType bInterfaceNumber bAlternateSetting bNumEndpoints bInterfaceClass"
        names += " bInterfaceSubClass bInterfaceProtocol iInterface"
        return _fields(names, "<BBBBBBBBB", _pick(model, 4, interface))

    def get_endpoint_descriptor(
        self, model: UsbModel, endpoint: int, _interface: int, _setting: int, _config: int
    ) -> SimpleNamespace:
        """The fields of an endpoint descriptor."""
        names = "bLength bDescriptorType bEndpointAddress bmAttributes wMaxPacketSize bInterval"
        fields = _fields(names, "<BBBBHB", _pick(model, 5, endpoint))
        fields.bRefresh = fields.bSynchAddress = 0
        return fields

    def open_device(self, model: UsbModel) -> _Handle:
        """A handle, which does not claim anything yet."""
        if not model.plugged:
            raise USBError("No such device", errno=errno.ENODEV)
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
        with _as_usb_errors():
            claimed = handle.model.claim(handle)
        if not claimed:
            raise USBError("Resource busy", errno=errno.EBUSY)

    def release_interface(self, handle: _Handle, _interface: int) -> None:
        """Give the interface back."""
        handle.model.release(handle)

    def is_kernel_driver_active(self, _handle: _Handle, _interface: int) -> bool:
        """No kernel is involved."""
        return False

    def ctrl_transfer(
        self, handle: _Handle, request_type: int, request: int, value: int, index: int, data: array[int], _timeout: int
    ) -> int:
        """A control transfer; `data` is what to send, or the buffer to fill."""
        setup = Setup(request_type, request, value, index, len(data))
        with _as_usb_errors():
            reply = handle.model.control(setup, b"" if request_type & 0x80 else data.tobytes())
        if not request_type & 0x80:
            return len(data)
        data[: len(reply)] = array("B", reply)
        return len(reply)

    def bulk_write(self, handle: _Handle, endpoint: int, _interface: int, data: array[int], _timeout: int) -> int:
        """Send to an OUT endpoint."""
        with _as_usb_errors():
            return handle.model.write(endpoint, data.tobytes())

    def bulk_read(self, handle: _Handle, endpoint: int, _interface: int, buffer: array[int], timeout: int) -> int:
        """Wait up to `timeout` milliseconds for data on an IN endpoint; 0 waits for ever."""
        ended: queue.SimpleQueue[tuple[CompletionStatus, bytes]] = queue.SimpleQueue()
        transfer = Transfer(len(buffer), lambda status, data: ended.put((status, data)))
        with _as_usb_errors():
            handle.model.submit(endpoint, transfer)
        status, data = _await(ended, timeout, lambda: handle.model.cancel(endpoint, transfer))
        if status is not CompletionStatus.DONE:
            raise USBError(status.name, errno=_ERRNO[status])
        buffer[: len(data)] = array("B", data)
        return len(data)

    intr_read = bulk_read
    intr_write = bulk_write


def _await(
    ended: queue.SimpleQueue[tuple[CompletionStatus, bytes]], timeout: int, cancel: Callable[[], bool]
) -> tuple[CompletionStatus, bytes]:
    try:
        return ended.get(timeout=timeout / 1000 if timeout else None)
    except queue.Empty:
        if cancel():
            raise USBTimeoutError("Operation timed out", errno=errno.ETIMEDOUT) from None
        return ended.get()


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


def _pick(model: UsbModel, kind: int, index: int) -> bytes:
    """The descriptor number `index` of a kind inside the configuration."""
    with _as_usb_errors():
        raw = model.control(Setup(0x80, 6, 0x0200, 0, 0xFFFF), b"")
    found = []
    while raw and raw[0] >= 2:
        if raw[1] == kind:
            found.append(raw[: raw[0]])
        raw = raw[raw[0] :]
    return found[index]
