"""A reader model and the shipped driver at the two ends of one wire, in process or over USB/IP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.nb1010 import Nb1010Driver
from drivers.uru4000 import Uru4000Driver
from hal import Deadline
from simulators.devices.nb1010_model import Nb1010Model
from simulators.devices.press_sensor import PressSensorModel
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import InProcessBackend, serve_usbip

MODELS: dict[str, Callable[[], PressSensorModel]] = {
    "uru4000-scrambled": lambda: Uru4000Model("A1", scramble=True),
    "uru4000-clear": lambda: Uru4000Model("A1", scramble=False),
    "nb1010": lambda: Nb1010Model("A1"),
}
TRANSPORTS = ("in-process", "usbip")


@dataclass
class UsbRig:
    """A reader model, and how its driver gets at it."""

    model: PressSensorModel
    driver: Any
    options: Mapping[str, Any]

    def open(self, seconds: float = 20.0) -> Any:
        return self.driver.open(self.options, Deadline.after(seconds))

    def picture(self) -> NDArray[np.uint8]:
        """Noise at native geometry inside a white frame: the readers lose no pixel of it."""
        field = self.model.field
        pixels = np.random.default_rng(7).integers(0, 256, (field.height, field.width), np.uint8)
        pixels[[0, -1]] = 255
        pixels[:, [0, -1]] = 255
        return pixels

    def place(self) -> None:
        self.model.place(self.picture(), self.model.field.dpi)

    def captures_exactly(self, reader: Any, seconds: float = 20.0) -> None:
        np.testing.assert_array_equal(reader.capture(Deadline.after(seconds)).pixels, self.picture())

    def works(self) -> None:
        """A fresh opening delivers every pixel."""
        with self.open() as reader:
            self.captures_exactly(reader)


@contextmanager
def usb_rig(model: PressSensorModel, transport: str) -> Iterator[UsbRig]:
    driver = Uru4000Driver if isinstance(model, Uru4000Model) else Nb1010Driver
    if transport == "in-process":
        yield UsbRig(model, driver(backend=InProcessBackend([model])), {})
        return
    with serve_usbip([model]) as server:
        yield UsbRig(model, driver(), {"usbip": f"127.0.0.1:{server.port}"})
