"""A V4L2 capture device as the kernel presents it: who holds it, what it is set to, how its buffers go round."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from hal import Clock, SystemClock
from simulators.devices.fault_orders import OrdersInForce
from simulators.devices.faults import Fault, FaultOrder, require_playable
from simulators.devices.v4l2 import _abi as abi
from simulators.devices.v4l2._modes import Mode, Offer
from simulators.devices.v4l2._optics import INSTANT, Optics, Picture, Scene, expose, sense
from simulators.devices.v4l2._sensor import Readout, Sensor
from simulators.devices.v4l2.pattern import counting_picture

MAX_BUFFERS = 8
_PAGE = 4096
_NEUTRAL_GAIN = 64
_NEUTRAL_BRIGHTNESS = 128
_SHORT_READ_SHARE = 3
FAULTS = frozenset(
    {
        Fault.UNPLUG,
        Fault.STALL,
        Fault.SHORT_READ,
        Fault.CORRUPT,
        Fault.BUSY,
        Fault.PERMISSION_DENIED,
        Fault.SLOW,
        Fault.WRONG_DESCRIPTOR,
    }
)


@dataclass(frozen=True)
class Identity:
    """Who the camera says it is; USB identifiers as four hexadecimal digits."""

    card: str = "Lab Camera (simulated)"
    vendor_id: str = "1209"
    product_id: str = "ca01"
    serial: str = "LAB0001"
    port: str = "1-1"


@dataclass
class Controls:
    """What a program may set: `brightness` 0 to 255 around 128, `gain` 0 to 255 where 64 changes nothing."""

    values: dict[int, int] = field(
        default_factory=lambda: {
            abi.CONTROL_BRIGHTNESS: _NEUTRAL_BRIGHTNESS,
            abi.CONTROL_GAIN: _NEUTRAL_GAIN,
        }
    )


class V4l2Camera:
    """The device behind every descriptor of its node. Every method is thread safe.

    What the lens sees is the counting pattern until `show`. Faults: `unplug` takes node and device away, also in the
    middle of a stream; `stall` delivers no further frame; `short-read` a third of the bytes; `corrupt` damages bytes
    and flags the frame as the kernel's USB driver does; `slow` delays every frame; `busy`, `permission-denied` and
    `wrong-descriptor` meet those who open the node from then on. `after` counts frames, or openings. The `seed` of a
    wrong descriptor says what is wrong, modulo three: no capture capability, an impossible image size, a picture
    without pixels.
    """

    def __init__(
        self, offer: Offer, optics: Optics = INSTANT, identity: Identity | None = None, clock: Clock | None = None
    ) -> None:
        self.offer = offer
        self.optics = optics
        self.identity = identity or Identity()
        self.clock = clock or SystemClock()
        self.plan = OrdersInForce(self.clock)
        self.controls = Controls()
        self.mode = Mode(offer.formats[0], offer.sizes[0])
        self.interval = offer.intervals[0]
        self.lock = threading.RLock()
        self.holder: object | None = None
        self.generation = 0
        self.attached = True
        self.on_plug: Callable[[bool], None] = lambda _: None
        self.on_permission: Callable[[bool], None] = lambda _: None
        self.memory = memoryview(bytearray())
        self.sensor = Sensor(self.clock, self._store)
        self._random = np.random.default_rng(0)
        self._scene: Scene | None = None
        self._shown_ns = 0
        self._to_drop = 0
        self._lens = threading.Lock()

    @property
    def faults(self) -> frozenset[Fault]:
        """The faults that this camera can play."""
        return FAULTS

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault."""
        require_playable(self, order)
        self.plan.add(order)
        if order.fault is Fault.UNPLUG and not order.after:
            self.unplug()
        if order.fault is Fault.PERMISSION_DENIED and not order.after:
            self.on_permission(False)

    def mend(self) -> None:
        """End every fault, a frozen picture too; an unplugged camera is plugged in again."""
        self.plan.clear()
        self.freeze(False)
        self.on_permission(True)
        with self.lock:
            returned, self.attached = not self.attached, True
        if returned:
            self.on_plug(True)

    def unplug(self) -> None:
        """Take the device away: every descriptor that is open now gets ENODEV from here on."""
        with self.lock:
            if not self.attached:
                return
            self.attached = False
            self.generation += 1
            self.holder = None
        self.on_plug(False)

    def show(self, scene: Scene | None) -> None:
        """Put a scene before the lens, its seconds beginning now; `None` is the counting pattern."""
        with self._lens:
            self._scene, self._shown_ns = scene, self.clock.monotonic_ns()

    def reseed(self, seed: int) -> None:
        """Begin the noise anew."""
        with self._lens:
            self._random = np.random.default_rng(seed)

    def drop(self, frames: int) -> None:
        """Lose the next `frames` frames between sensor and buffers: their numbers are missing afterwards."""
        with self._lens:
            self._to_drop += frames

    def freeze(self, on: bool = True) -> None:
        """Deliver the last frame again and again, its number and time unchanged, until switched off."""
        self.sensor.freeze(on)

    @property
    def buffer_bytes(self) -> int:
        """From one buffer to the next in the node's memory: the largest image of any mode, in whole pages."""
        largest = max(Mode(name, size).image_bytes for name in self.offer.formats for size in self.offer.sizes)
        return -(-largest // _PAGE) * _PAGE

    def stream_on(self) -> None:
        """The sensor begins; called by the descriptor that holds the buffers."""
        mode, optics = self.mode, self.optics
        self.sensor.start(
            lambda sequence, at: self._read_out(mode, optics, sequence, at),
            float(self.interval),
            optics.latency,
            self._delay,
        )

    def set_interval(self, wanted: Fraction) -> None:
        """Settle on the frame rate nearest to the one asked for."""
        self.interval = self.offer.nearest_interval(wanted)

    def _store(self, index: int, data: bytes) -> None:
        start = index * self.buffer_bytes
        self.memory[start : start + len(data)] = data

    def _read_out(self, mode: Mode, optics: Optics, sequence: int, at: int) -> Readout | None:
        if self.plan.strikes(Fault.UNPLUG):
            threading.Thread(target=self.unplug, name="v4l2-unplug", daemon=True).start()
            return None
        if self.plan.strikes(Fault.STALL) or self._is_dropped():
            return None
        data = mode.coding.encode(self._picture(mode, optics, sequence, at))[: mode.image_bytes]
        damaged = self.plan.corrupted(data)
        if self.plan.strikes(Fault.SHORT_READ):
            return Readout(data[: len(data) // _SHORT_READ_SHARE])
        return Readout(data) if damaged is None else Readout(damaged, damaged=True)

    def _picture(self, mode: Mode, optics: Optics, sequence: int, at: int) -> Picture:
        height, width = mode.size
        with self._lens:
            scene, shown = self._scene, self._shown_ns
        if scene is None:
            picture = counting_picture(sequence, height, width)
        else:
            picture = expose(scene, max(0, at - shown) / 1e9, optics)
        if picture.shape != (height, width, 3) or picture.dtype != np.uint8:
            raise ValueError(f"the scene gave {picture.dtype} {picture.shape}, not uint8 {(height, width, 3)}")
        gain = self.controls.values[abi.CONTROL_GAIN] / _NEUTRAL_GAIN
        brightness = self.controls.values[abi.CONTROL_BRIGHTNESS] - _NEUTRAL_BRIGHTNESS
        return sense(picture, sequence, (gain, brightness), optics, self._random)

    def _delay(self) -> float:
        slow = self.plan.strikes(Fault.SLOW)
        return slow.order.seconds if slow else 0.0

    def _is_dropped(self) -> bool:
        with self._lens:
            dropped = self._to_drop > 0
            self._to_drop -= dropped
        return dropped
