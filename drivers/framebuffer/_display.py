"""An opened framebuffer."""

from __future__ import annotations

import logging
import os
from types import TracebackType
from typing import Self

from drivers.framebuffer._errors import mapped_errors
from drivers.framebuffer._layout import Ioctl, Layout, read_layout
from hal import Clock, Colour, Deadline, DeviceError, DeviceInfo, Disconnected

_CHUNK = 1 << 20


class FramebufferDisplay:
    """A screen that shows one colour at a time. Made by `FramebufferDriver.open`, which owns `descriptor` no longer.

    What was on the screen is kept from the opening and written back at the close, also after a failure.
    """

    def __init__(self, descriptor: int, layout: Layout, info: DeviceInfo, clock: Clock, ioctl: Ioctl) -> None:
        self._descriptor = descriptor
        self._layout = layout
        self._info = info
        self._clock = clock
        self._ioctl = ioctl
        with mapped_errors(f"reading {info.port}"):
            self._before = self._read()

    @property
    def info(self) -> DeviceInfo:
        """Who and where the device is."""
        return self._info

    def fill(self, colour: Colour, deadline: Deadline) -> int:
        """Give all of the screen this colour; see `hal.Display`."""
        if self._descriptor < 0:
            raise Disconnected("the screen is closed")
        with mapped_errors(f"filling {self._info.port}"):
            self._require_same_mode()
            self._write(self._layout.filled(self._before, colour), deadline)
        return self._clock.monotonic_ns()

    def close(self) -> None:
        """Restore what was shown, and release the device; closing twice is allowed."""
        descriptor = self._descriptor
        if descriptor < 0:
            return
        try:
            self._require_same_mode()
            self._write(self._before, None)
        except (OSError, DeviceError) as error:
            logging.getLogger(__name__).warning("%s does not show again what it did: %s", self._info.port, error)
        finally:
            self._descriptor = -1
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_same_mode(self) -> None:
        """What was kept fits no other mode."""
        if read_layout(self._descriptor, self._ioctl) != self._layout:
            raise Disconnected(f"{self._info.port} changed its mode", remedy="Leave the screen alone, and try again.")

    def _read(self) -> bytes:
        parts, at, left = [], self._layout.start, self._layout.size
        while left and (part := os.pread(self._descriptor, min(left, _CHUNK), at)):
            parts.append(part)
            at, left = at + len(part), left - len(part)
        if left:
            raise Disconnected(f"{self._info.port} ends {left} bytes before its last line")
        return b"".join(parts)

    def _write(self, data: bytes, deadline: Deadline | None) -> None:
        view, at = memoryview(data), self._layout.start
        while view:
            if deadline is not None:
                deadline.check(f"filling {self._info.port}")
            written = os.pwrite(self._descriptor, view[:_CHUNK], at)
            if written <= 0:
                raise Disconnected(f"{self._info.port} takes no more bytes")
            view, at = view[written:], at + written
