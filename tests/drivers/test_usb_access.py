"""Options, errors and deadlines shared by the USB drivers."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest
from usb.core import NoBackendError, USBError, USBTimeoutError

from drivers.nb1010 import Nb1010Driver
from drivers.usb_access import UsbOptions, milliseconds
from hal import (
    Busy,
    Deadline,
    DeviceError,
    Disconnected,
    NotFound,
    PermissionDenied,
    ProtocolError,
    TimedOut,
    Transport,
    Unsupported,
)
from simulators.devices.nb1010_model import Nb1010Model
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import InProcessBackend


class Failing(InProcessBackend):
    """A bus on which one operation fails."""

    def __init__(self, error: Exception, at: str) -> None:
        super().__init__([Nb1010Model("A1")])
        self.released = 0
        setattr(self, at, self._raiser(error))

    def close_device(self, handle: Any) -> None:
        self.released += 1
        super().close_device(handle)

    @staticmethod
    def _raiser(error: Exception) -> Any:
        def fail(*_args: Any) -> Any:
            raise error

        return fail


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ({}, UsbOptions()),
        ({"vendor_id": 0x05BA, "product_id": "000a"}, UsbOptions(vendor_id=0x05BA, product_id=10)),
        ({"vendor_id": "0x298D"}, UsbOptions(vendor_id=0x298D)),
        ({"port": "1-2.3", "serial": "X"}, UsbOptions(port="1-2.3", serial="X")),
        ({"usbip": "127.0.0.1:3240"}, UsbOptions(usbip=("127.0.0.1", 3240))),
        ({"usbip": "[::1]:3240"}, UsbOptions(usbip=("::1", 3240))),
    ],
)
def test_options(given: dict[str, Any], parsed: UsbOptions) -> None:
    assert UsbOptions.parse(given) == parsed


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"vendor": 1}, "vendor"),
        ({"vendor_id": "xyz"}, "vendor_id"),
        ({"vendor_id": True}, "vendor_id"),
        ({"product_id": 65536}, "product_id"),
        ({"product_id": 1.5}, "product_id"),
        ({"serial": 5}, "serial"),
        ({"usbip": "localhost"}, "usbip"),
        ({"usbip": "localhost:0"}, "usbip"),
        ({"usbip": ":3240"}, "usbip"),
        ({"usbip": 3240}, "usbip"),
    ],
)
def test_options_that_make_no_sense_are_named(given: dict[str, Any], names: str) -> None:
    with pytest.raises(DeviceError, match=names) as caught:
        Nb1010Driver().open(given)
    assert "configuration" in caught.value.remedy


def test_without_libusb_the_remedy_is_the_command() -> None:
    driver = Nb1010Driver(backend=Failing(NoBackendError("No backend available"), "enumerate_devices"))
    for act in (driver.list, driver.open):
        with pytest.raises(Unsupported) as caught:
            act({})
        assert "apt-get install libusb-1.0-0" in caught.value.remedy


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (USBError("x", errno=errno.ENODEV), Disconnected),
        (USBError("x", errno=errno.EIO), Disconnected),
        (USBError("x", errno=errno.EBUSY), Busy),
        (USBError("x", errno=errno.EACCES), PermissionDenied),
        (USBError("x", errno=errno.EPIPE), ProtocolError),
        (USBError("x", errno=errno.EOVERFLOW), ProtocolError),
        (USBError("x", errno=errno.ETIMEDOUT), TimedOut),
        (USBTimeoutError("x"), TimedOut),
        (USBError("x", errno=errno.ENOSYS), Unsupported),
        (USBError("x"), DeviceError),
        (NotImplementedError("x"), Unsupported),
    ],
)
def test_every_error_of_pyusb_has_its_place_and_nothing_stays_claimed(error: Exception, kind: type[Exception]) -> None:
    backend = Failing(error, "claim_interface")
    with pytest.raises(DeviceError) as caught:
        Nb1010Driver(backend=backend).open({})
    assert type(caught.value) is kind
    assert caught.value.remedy
    assert backend.released == 1


def test_one_busy_device_beside_a_free_one_is_no_obstacle() -> None:
    models = [Nb1010Model("A1"), Nb1010Model("A2")]
    driver = Nb1010Driver(backend=InProcessBackend(models))
    with driver.open({}) as first, driver.open({}) as second:
        assert [first.info.serial, second.info.serial] == ["A1", "A2"]
        with pytest.raises(Busy):
            driver.open({})


def test_other_devices_on_the_bus_are_left_alone() -> None:
    driver = Nb1010Driver(backend=InProcessBackend([Uru4000Model("U1"), Nb1010Model("N1")]))
    assert [info.serial for info in driver.list({})] == ["N1"]
    with driver.open({}) as reader:
        assert reader.info.port == "1-2"


class Hardware(InProcessBackend):
    """A bus that does not call itself virtual."""

    virtual = False


def test_a_simulated_product_is_virtual_even_on_a_real_bus() -> None:
    (info,) = Nb1010Driver(backend=Hardware([Nb1010Model()])).list({})
    assert info.transport is Transport.VIRTUAL


class Unmarked(Nb1010Model):
    """A model that hides what it is, as hardware would look."""

    def __init__(self) -> None:
        super().__init__()
        fields = {name: getattr(self.layout, name) for name in self.layout.__dataclass_fields__}
        self.layout = type(self.layout)(**{**fields, "product": "NB-1010-U"})


def test_a_plain_product_on_a_real_bus_is_usb_and_on_a_virtual_one_virtual() -> None:
    (on_hardware,) = Nb1010Driver(backend=Hardware([Unmarked()])).list({})
    (on_virtual,) = Nb1010Driver(backend=InProcessBackend([Unmarked()])).list({})
    assert (on_hardware.transport, on_virtual.transport) == (Transport.USB, Transport.VIRTUAL)


def test_a_device_whose_strings_may_not_be_read_is_listed_without_them() -> None:
    backend = Failing(USBError("x", errno=errno.EACCES), "ctrl_transfer")
    (info,) = Nb1010Driver(backend=backend).list({})
    assert (info.serial, info.name) == ("", "NB-1010-U")


@pytest.mark.parametrize(("left", "expected"), [(0.0, 1), (0.0001, 1), (0.5, 500), (0.0105, 11)])
def test_a_timeout_is_never_zero_which_would_be_for_ever(left: float, expected: int) -> None:
    clock = SimpleNamespace(monotonic_ns=lambda: 0, sleep=lambda _seconds: None)
    assert milliseconds(Deadline.after(left, clock)) == expected


def test_no_server_is_not_found() -> None:
    with pytest.raises(NotFound):
        Nb1010Driver().list({"usbip": "127.0.0.1:1"})
