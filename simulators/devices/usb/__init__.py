"""USB devices without USB: a base for register-level models, and two transports to an unmodified pyusb driver.

`InProcessBackend` is a pyusb backend over models in this process; `serve_usbip` exports them by USB/IP.
"""

from simulators.devices.usb._descriptors import Endpoint, TransferType, UsbLayout
from simulators.devices.usb._faults import LIES
from simulators.devices.usb._in_process import InProcessBackend
from simulators.devices.usb._model import Setup, UsbModel
from simulators.devices.usb._server import UsbipServer, serve_usbip
from simulators.devices.usb._transfer import CompletionStatus, Stall, Transfer, Unplugged

__all__ = [
    "LIES",
    "CompletionStatus",
    "Endpoint",
    "InProcessBackend",
    "Setup",
    "Stall",
    "Transfer",
    "TransferType",
    "Unplugged",
    "UsbLayout",
    "UsbModel",
    "UsbipServer",
    "serve_usbip",
]
