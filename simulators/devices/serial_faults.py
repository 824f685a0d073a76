"""Faults on a serial line, in what the device sends: bytes spoiled, messages cut, late or never sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simulators.devices.fault_orders import OrderInForce
from simulators.devices.faults import Fault
from simulators.devices.serial_wire import Message


def played(one: OrderInForce, messages: Sequence[Message]) -> list[Message]:
    """What the line makes of the `messages` of one answer while the order is in force."""
    struck = [one.hits() for _ in messages]
    if one.order.fault is Fault.SLOW:
        # A slow device begins late; it does not pause after every packet of one answer.
        struck = [hit and True not in struck[:number] for number, hit in enumerate(struck)]
    spoilt = [_spoilt(one, message) if hit else message for message, hit in zip(messages, struck, strict=True)]
    return [message for message in spoilt if message is not None]


def _spoilt(one: OrderInForce, message: Message) -> Message | None:
    match one.order.fault:
        case Fault.STALL:
            return None
        case Fault.SHORT_READ:
            return replace(message, data=one.cut(message.data, keep=1))
        case Fault.CORRUPT:
            return replace(message, data=one.spoiled(message.data))
        case Fault.SLOW:
            return replace(message, latency=message.latency + one.order.seconds)
        case _:
            return message
