"""Faults on the devices of a lab, ordered by its configuration, its control socket, or `keyvigil-lab fault`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from simulators.devices.faults import Fault, FaultOrder, Faulty


class OrderedFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `FaultOrder` as a configuration or a command gives it."""

    fault: Fault
    after: int = 0
    rate: float = 1.0
    seconds: float = 0.0
    seed: int = 0

    def order(self) -> FaultOrder:
        """The order; raises `ValueError` for a number out of range, or a delay without its length."""
        if self.fault is Fault.SLOW and not self.seconds:
            raise ValueError("slow needs to know by how many seconds")
        return FaultOrder(self.fault, self.after, self.rate, self.seconds, self.seed)


class FaultBoard:
    """The devices of one lab by name, and what goes wrong with them."""

    def __init__(self, devices: Mapping[str, Faulty], ordered: Mapping[str, Sequence[OrderedFault]]) -> None:
        """Begin with the faults `ordered` by device; raises `ValueError` for a device or fault that there is not."""
        self._devices = dict(devices)
        for name, faults in ordered.items():
            for fault in faults:
                self._device(name).inject(fault.order())

    def obey(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out `{"op": "fault", "device": …, "fault": …}`, `{"op": "mend", "device": … or null}` or
        `{"op": "faults"}`; raises `ValueError` for one that makes no sense.
        """
        match command["op"]:
            case "fault":
                fields = {key: value for key, value in command.items() if key not in {"op", "device"}}
                self._device(command["device"]).inject(msgspec.convert(fields, OrderedFault).order())
            case "mend":
                name = command.get("device")
                for device in self._devices.values() if name is None else [self._device(name)]:
                    device.mend()
            case "faults":
                return {"faults": {name: sorted(device.faults) for name, device in self._devices.items()}}
            case unknown:
                raise ValueError(f"unknown op {unknown!r}")
        return {}

    def _device(self, name: object) -> Faulty:
        device = self._devices.get(name) if isinstance(name, str) else None
        if device is None:
            raise ValueError(f"no device {name!r}; there are {', '.join(sorted(self._devices))}")
        return device
