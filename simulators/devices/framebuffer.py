"""A screen as the kernel's fbdev gives it: a node of memory, and the two requests that say how its pixels lie.

A process cannot make a framebuffer, so the requests are answered by `ioctl`, which the driver is given in place of the
kernel's. Source: include/uapi/linux/fb.h of the Linux kernel.
"""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from simulators.devices.fault_orders import OrdersInForce
from simulators.devices.faults import Fault, FaultOrder, require_playable

_VARIABLE = struct.Struct("=40I")
_FIXED = struct.Struct("@16sLIIIIHHHILIIHHH0L")
_GET_VARIABLE, _GET_FIXED = 0x4600, 0x4602
_TRUE_COLOUR = 2


@dataclass(frozen=True)
class ScreenMode:
    """How the pixels lie: `depth` bits each, components as (offset, length) of red, green, blue and alpha.

    A line has `padding` bytes after its last pixel; the visible part begins at `left` and `top` of a larger picture.
    """

    width: int = 64
    height: int = 48
    depth: int = 32
    fields: tuple[tuple[int, int], ...] = ((16, 8), (8, 8), (0, 8), (24, 8))
    left: int = 0
    top: int = 0
    padding: int = 0
    visual: int = _TRUE_COLOUR

    @property
    def pitch(self) -> int:
        """Bytes from one line to the next."""
        return (self.left + self.width) * self.depth // 8 + self.padding

    @property
    def memory(self) -> int:
        """Bytes in all."""
        return (self.top + self.height) * self.pitch


XRGB8888 = ScreenMode()
RGB888 = ScreenMode(depth=24, fields=((16, 8), (8, 8), (0, 8), (0, 0)), padding=6)
RGB565 = ScreenMode(depth=16, fields=((11, 5), (5, 6), (0, 5), (0, 0)), left=3, top=2)
PALETTE = ScreenMode(depth=8, fields=((0, 8), (0, 8), (0, 8), (0, 0)), visual=3)


class Framebuffer:
    """A screen at `device`. What it shows at the beginning is a pattern that no colour fills."""

    faults: ClassVar[frozenset[Fault]] = frozenset({Fault.UNPLUG, Fault.WRONG_DESCRIPTOR, Fault.SHORT_READ})

    def __init__(self, mode: ScreenMode = XRGB8888) -> None:
        self.mode = mode
        self._folder = tempfile.TemporaryDirectory(prefix="screen-")
        self._orders = OrdersInForce()
        self.devices.mkdir()
        self._plug()

    @property
    def devices(self) -> Path:
        """The folder of all nodes."""
        return Path(self._folder.name) / "dev"

    @property
    def device(self) -> Path:
        """The node."""
        return self.devices / "fb0"

    @property
    def memory(self) -> bytes:
        """All of it, what is not visible too."""
        return self.device.read_bytes()

    def ioctl(self, descriptor: int, request: int, buffer: Any) -> int:
        """Answer as the kernel does for this node; any other has no such request."""
        if self._orders.strikes(Fault.UNPLUG):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if not os.path.samestat(os.fstat(descriptor), self.device.stat()) or request not in {
            _GET_VARIABLE,
            _GET_FIXED,
        }:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        answer = self._variable() if request == _GET_VARIABLE else self._fixed()
        buffer[: len(answer)] = answer
        return 0

    def shown(self) -> NDArray[np.float64]:
        """The visible pixels, `[height, width, 3]` red, green and blue from 0 to 1."""
        mode, step = self.mode, self.mode.depth // 8
        lines = np.frombuffer(self.memory, np.uint8).reshape(-1, mode.pitch)[mode.top :]
        pixels = lines[:, mode.left * step : (mode.left + mode.width) * step].reshape(mode.height, mode.width, step)
        values = sum(pixels[:, :, at].astype(np.int64) << 8 * at for at in range(step))
        parts = [(values >> offset & (1 << length) - 1) / ((1 << length) - 1) for offset, length in mode.fields[:3]]
        return np.stack(parts, axis=2)

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault; see `Faulty`. A message is one request; `SHORT_READ` ends the memory in the middle."""
        require_playable(self, order)
        self._orders.add(order)
        if order.fault is Fault.SHORT_READ:
            os.truncate(self.device, self.mode.memory // 2)

    def mend(self) -> None:
        """End every fault."""
        self._orders.clear()
        self._plug()

    def close(self) -> None:
        """Take the screen away for good; closing twice is allowed."""
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _plug(self) -> None:
        pattern = np.arange(self.mode.memory, dtype=np.int64) * 7 % 251
        self.device.write_bytes(pattern.astype(np.uint8).tobytes())

    def _variable(self) -> bytes:
        mode = self.mode
        size = (mode.width, mode.height, mode.left + mode.width, mode.top + mode.height, mode.left, mode.top)
        fields = [part for offset, length in mode.fields for part in (offset, length, 0)]
        return _VARIABLE.pack(*size, mode.depth, 0, *fields, *[0] * 20)

    def _fixed(self) -> bytes:
        memory = 16 if self._orders.strikes(Fault.WRONG_DESCRIPTOR) else self.mode.memory
        name, pitch = b"simulated", self.mode.pitch
        return _FIXED.pack(name, 0, memory, 0, 0, self.mode.visual, 1, 1, 0, pitch, 0, 0, 0, 0, 0, 0)
