"""Buses of our own for the drivers whose device another daemon holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hal import Deadline, DeviceError
from simulators.devices.dbus import PrivateBus
from tests.on_time import on_time

PLENTY = 20.0
LIMIT = 1.0

needs_bus = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs apt-get install dbus")
needs_fprintd = pytest.mark.skipif(not Path("/usr/libexec/fprintd").exists(), reason="needs apt-get install fprintd")


def soon() -> Deadline:
    return Deadline.after(PLENTY)


def refused(kind: type[DeviceError], work: Callable[[Deadline], Any], seconds: float = LIMIT) -> DeviceError:
    """The error that `work` raises; it must come inside the deadline + 10 %, and name a remedy."""
    with on_time(seconds), pytest.raises(kind) as caught:
        work(Deadline.after(seconds))
    assert caught.value.remedy
    return caught.value


def members(bus: PrivateBus) -> set[str]:
    """Unique names of this process' members of the bus."""
    with bus.connect() as watcher:
        (names,) = watcher.bus_proxy.ListNames()
        unique = [name for name in names if name.startswith(":") and name != watcher.unique_name]
        return {name for name in unique if watcher.bus_proxy.GetConnectionUnixProcessID(name) == (os.getpid(),)}
