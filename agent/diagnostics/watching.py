"""Arrivals and departures, of every driver's devices and of what no driver claims."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agent.clocks import StoppableClock
from agent.diagnostics.attached import Unclaimed, unclaimed
from agent.diagnostics.findings import failed
from agent.diagnostics.machine import Machine
from agent.log import printable
from hal import DeviceInfo, PlugEvent, available_drivers, load_driver, watch

RETRY_S = 5.0
"""Between two tries of a driver that cannot list its devices."""
LOOK_S = 1.0


@dataclass(frozen=True)
class Change:
    """Something that came or went, or a driver that cannot look (`error`); `bus` is set for what no driver claims."""

    at: float
    arrived: bool
    text: str
    driver: str = ""
    bus: str = ""
    error: bool = False
    remedy: str = ""

    def plain(self) -> dict[str, Any]:
        """For JSON lines."""
        event = "error" if self.error else "arrived" if self.arrived else "left"
        return {
            "at": round(self.at, 3),
            "event": event,
            "driver": self.driver,
            "bus": self.bus,
            "device": printable(self.text),
            "remedy": printable(self.remedy),
        }


def watch_all(
    options: Mapping[str, Mapping[str, Any]],
    seconds: float | None,
    machine: Machine | None = None,
    pins: Mapping[str, str] | None = None,
) -> Iterator[Change]:
    """Changes as they happen, beginning with what is there; for ever, or for `seconds`.

    `pins` are SHA-256 by driver name; a driver that is another than the pinned one is left out.
    Every driver is watched on a thread of its own, so that one that stalls holds up no other.
    """
    watching = _Watching(machine or Machine())
    for name in available_drivers():
        watching.start(f"watch {name}", watching.drive, name, options.get(name, {}), (pins or {}).get(name))
    watching.start("watch the rest", watching.look_around)
    try:
        yield from watching.changes(seconds)
    finally:
        watching.stop.set()


class _Watching:
    """The threads that look, the devices that drivers see now, and the changes on their way."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._changes: queue.Queue[Change] = queue.Queue()
        self._claimed: dict[tuple[str, str], DeviceInfo] = {}
        self.stop = threading.Event()
        self._clock = StoppableClock(self.stop)

    def start(self, name: str, look: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=look, args=arguments, name=name, daemon=True).start()

    def changes(self, seconds: float | None) -> Iterator[Change]:
        end = math.inf if seconds is None else time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with suppress(queue.Empty):
                yield self._changes.get(timeout=min(LOOK_S, left))

    def drive(self, name: str, options: Mapping[str, Any], pin: str | None) -> None:
        last_error = ""
        while not self.stop.is_set():
            try:
                driver, _ = load_driver(name, pin)
                for event in watch(driver, options, self.stop.is_set, self._clock):
                    last_error = ""
                    self._claim(name, event)
                    self._changes.put(_of_driver(name, event))
            except ImportError:
                return
            except Exception as error:  # noqa: BLE001 - a driver's defect is told, and ends no other's watch
                trouble = failed("device.driver", error)
                # A server that went away and comes back is worth one line each time, not one every try.
                if trouble.what != last_error:
                    last_error = trouble.what
                    self._changes.put(Change(time.time(), False, last_error, name, error=True, remedy=trouble.remedy))
                self._clock.sleep(RETRY_S)

    def look_around(self) -> None:
        """What no driver claims. A device counts from the second look on: its driver may need a moment to see it."""
        known: list[Unclaimed] = []
        before: list[Unclaimed] = []
        while not self.stop.is_set():
            present = unclaimed(self._machine, list(self._claimed.values()))
            for gone in [found for found in known if found not in present]:
                known.remove(gone)
                self._changes.put(_of_bus(gone, arrived=False))
            for come in [found for found in present if found in before and found not in known]:
                known.append(come)
                self._changes.put(_of_bus(come, arrived=True))
            before = present
            self._clock.sleep(LOOK_S)

    def _claim(self, name: str, event: PlugEvent) -> None:
        key = (name, event.device.port)
        if event.arrived:
            self._claimed[key] = event.device
        else:
            self._claimed.pop(key, None)


def _of_driver(name: str, event: PlugEvent) -> Change:
    info = event.device
    identity = f"{info.vendor_id}:{info.product_id}" if info.vendor_id else ""
    text = "  ".join(part for part in (info.name or info.kind, info.port, identity, info.serial) if part)
    return Change(time.time(), event.arrived, text, driver=name)


def _of_bus(found: Unclaimed, *, arrived: bool) -> Change:
    text = "  ".join(part for part in (found.place, found.name, found.what) if part)
    return Change(time.time(), arrived, text, bus=found.bus)
