"""Faults on a serial line, in what the device sends: bytes spoiled, messages cut, late or never sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.serial_wire import LineNoise, Message


class PlayedFault:
    """One order in force on a line: which messages it hits, and how."""

    def __init__(self, order: FaultOrder, begun_ns: int) -> None:
        self.order = order
        self._passed = 0
        self._random = np.random.default_rng(order.seed)
        self._noise = LineNoise(order.rate, seed=order.seed)
        lasts = order.seconds > 0 and order.fault is not Fault.SLOW
        self._ends_ns = begun_ns + int(order.seconds * 1e9) if lasts else None

    def over(self, now_ns: int) -> bool:
        """Whether a passing fault has passed."""
        return self._ends_ns is not None and now_ns >= self._ends_ns

    @property
    def in_force(self) -> bool:
        """Whether the messages that pass unharmed have passed."""
        return self._passed >= self.order.after

    def play(self, messages: Sequence[Message]) -> list[Message]:
        """What the line makes of `messages`."""
        unharmed = min(len(messages), self.order.after - self._passed)
        self._passed += unharmed
        hit = messages[unharmed:]
        if self.order.fault is Fault.CORRUPT:
            return [*messages[:unharmed], *self._corrupted(hit)]
        if self.order.fault is Fault.SLOW:
            # A slow device begins late; it does not pause after every packet of one answer.
            return [*messages[:unharmed], *map(self._late, hit[:1]), *hit[1:]]
        return [*messages[:unharmed], *(played for message in hit for played in self._played(message))]

    def _corrupted(self, messages: Sequence[Message]) -> list[Message]:
        spoiled = self._noise.spoil(b"".join(message.data for message in messages))
        ends = np.cumsum([len(message.data) for message in messages], dtype=int).tolist()
        starts = [0, *ends[:-1]] if ends else []
        return [
            replace(message, data=spoiled[start:end])
            for message, start, end in zip(messages, starts, ends, strict=True)
        ]

    def _late(self, message: Message) -> Message:
        return replace(message, latency=message.latency + self.order.seconds) if self._strikes() else message

    def _played(self, message: Message) -> list[Message]:
        if not self._strikes():
            return [message]
        if self.order.fault is Fault.STALL:
            return []
        if self.order.fault is Fault.SHORT_READ:
            kept = int(self._random.integers(1, len(message.data)))
            return [replace(message, data=message.data[:kept])]
        return [message]

    def _strikes(self) -> bool:
        return bool(self._random.random() < self.order.rate)
