"""A keyboard at its wire, and the driver that is the shipped one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from keyvigil_keystroke.driver import Ps2Keyboard, Ps2SerialDriver
from keyvigil_keystroke_sim.keyboard import SimulatedKeyboard

from hal import Deadline


@dataclass
class Rig:
    """The model, and how the driver gets at it."""

    model: SimulatedKeyboard
    driver: Ps2SerialDriver

    @property
    def options(self) -> dict[str, Any]:
        return {"port": str(self.model.link)}

    def open(self, seconds: float = 5.0, **options: Any) -> Ps2Keyboard:
        return self.driver.open({**self.options, **options}, Deadline.after(seconds))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with SimulatedKeyboard(tmp_path / "keyboard", instant=True) as model:
        yield Rig(model, Ps2SerialDriver())
