"""An opened EF01 reader."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from drivers.ef01._merge import MOST_TRANSFERS, Merge
from drivers.ef01._session import Confirmation, Session
from drivers.ef01._transfer import HEIGHT, WIDTH, ImageLayout
from hal import Clock, Deadline, DeviceInfo, FingerprintImage, TimedOut

DPI = 500
"""As the manuals of the optical modules (R30x, AS608, ZFM-20) give it."""

_POLL_SECONDS = 0.05
_SILENT_TRANSFERS = 3


class Ef01Reader:
    """A sensor at the end of a serial port. Made by `Ef01Driver.open`; images have 256x288 pixels of 16 greys."""

    def __init__(self, session: Session, info: DeviceInfo, layout: ImageLayout, settle: float, clock: Clock) -> None:
        self._session = session
        self._info = info
        self._layout = layout
        self._settle = settle
        self._clock = clock
        self._sequence = 0
        self._transfers = 0

    @property
    def info(self) -> DeviceInfo:
        """Who and where the reader is."""
        return self._info

    @property
    def baud(self) -> int:
        """The rate that was settled on, in bits per second."""
        return self._session.port.baud

    @property
    def packet_bytes(self) -> int:
        """Payload of a packet of the image: 32, 64, 128 or 256."""
        return self._layout.payload

    @property
    def transfers(self) -> int:
        """How often the last image was fetched until every packet of it was known."""
        return self._transfers

    def capture(self, deadline: Deadline, on_ready: Callable[[], None] | None = None) -> FingerprintImage:
        """Wait for a finger, let it settle, take its image and fetch it, eight times at the most."""
        ready = on_ready
        while not self._finger_at_rest(deadline):
            if ready is not None:
                ready()
                ready = None
            self._pause(_POLL_SECONDS, "waiting for a finger", deadline)
        if ready is not None:
            ready()
        taken_ns = self._clock.monotonic_ns()
        pixels = _pixels(self._fetch(deadline))
        self._sequence += 1
        return FingerprintImage(pixels, DPI, self._sequence, taken_ns)

    def wait_removed(self, deadline: Deadline) -> None:
        """Return when no finger lies on the sensor."""
        while self._look(deadline) is not Confirmation.NO_FINGER:
            self._pause(_POLL_SECONDS, "waiting for the finger to leave", deadline)

    def close(self) -> None:
        """Release the port; closing twice is allowed."""
        self._session.port.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _look(self, deadline: Deadline) -> Confirmation:
        self._session.port.require_open()
        return self._session.find_finger(deadline)

    def _finger_at_rest(self, deadline: Deadline) -> bool:
        """Have the sensor image the finger, and once more when it has come to rest."""
        if self._look(deadline) is not Confirmation.OK:
            return False
        if not self._settle:
            return True
        self._pause(self._settle, "waiting for the finger to settle", deadline)
        return self._look(deadline) is Confirmation.OK

    def _fetch(self, deadline: Deadline) -> bytes:
        """The image that the sensor holds; it stays the same until the next one is taken."""
        merge = Merge(self._layout)
        silent = 0
        for self._transfers in range(1, MOST_TRANSFERS + 1):
            stream = self._session.receive_image(self._layout, deadline)
            silent = 0 if stream else silent + 1
            if silent == _SILENT_TRANSFERS:
                raise TimedOut(f"the sensor at {self._info.port} does not answer")
            merge.add(stream)
            if not merge.missing:
                break
        return merge.image()

    def _pause(self, seconds: float, what: str, deadline: Deadline) -> None:
        deadline.check(what)
        deadline.clock.sleep(min(seconds, deadline.remaining()))
        deadline.check(what)


def _pixels(image: bytes) -> NDArray[np.uint8]:
    """Two pixels a byte, the left one in the high nibble, to uint8 `[288, 256]`: 16 greys spread over 0 to 255."""
    packed = np.frombuffer(image, np.uint8)
    greys = np.stack([packed >> 4, packed & 0x0F], axis=1).reshape(HEIGHT, WIDTH)
    return greys * np.uint8(17)
