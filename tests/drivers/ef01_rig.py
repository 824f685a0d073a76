"""An EF01 module at the end of a serial line, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.ef01 import Ef01Driver, Ef01Reader
from hal import Deadline
from simulators.devices.ef01_model import FIELD, Ef01Model
from simulators.devices.press_sensor import SensorField
from simulators.devices.serial_line import SerialLine


def grey_noise(seed: int = 7) -> NDArray[np.uint8]:
    """A picture of 16 greys at the sensor's geometry: the module loses nothing of it."""
    greys = np.random.default_rng(seed).integers(0, 16, (FIELD.height, FIELD.width), np.uint8)
    return greys * np.uint8(17)


@dataclass
class Ef01Station:
    """The module, its line, and the driver's options for it."""

    module: Ef01Model
    line: SerialLine
    field: SensorField = FIELD

    @property
    def options(self) -> dict[str, Any]:
        return {"port": str(self.line.link), "settle_ms": 0}

    def open(self, deadline: Deadline | None = None, **options: Any) -> Ef01Reader:
        return Ef01Driver().open({**self.options, **options}, deadline)

    def place(self, pixels: NDArray[np.uint8], dpi: int = FIELD.dpi) -> None:
        self.module.place(pixels, dpi)

    def lift(self) -> None:
        self.module.lift()

    def unplug(self) -> None:
        self.line.unplug()

    def plug(self) -> None:
        self.line.plug()


@contextmanager
def ef01_station(folder: Path, *, paced: bool = False, **module: Any) -> Iterator[Ef01Station]:
    model = Ef01Model(**module)
    with SerialLine(model, folder / "reader", paced=paced) as line:
        yield Ef01Station(model, line)
