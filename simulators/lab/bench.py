"""A bench: single simulated devices served for a person or a program that drives them, with faults on demand.

Its configuration is TOML: one table per device, `model` and the model's own `options`, and the faults it begins with.

    [devices.reader]
    model = "uru4000"
    options = { seed = 3, instant = false }
    [[devices.reader.faults]]
    fault = "corrupt"
    rate = 0.001

Every device tells which driver finds it, with which options and environment; `keyvigil-lab fault`, `mend` and `person`
speak to the bench's control socket.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

from simulators.lab import hook
from simulators.lab.control import ControlServer
from simulators.lab.faults import FaultBoard, OrderedFault
from simulators.lab.hook import CONTROL_SOCKET
from simulators.lab.models import MODELS, Served
from simulators.lab.processes import LabError
from simulators.lab.station import personas_of

READY_FILE = "bench.json"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
"""A device's name is that of its folder too."""
_PING_S = 5.0


class BenchDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device: the name of its model, what the model is made with, and the faults in force from the start."""

    model: str
    options: dict[str, Any] = {}
    faults: list[OrderedFault] = []


class BenchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The devices by name; `person` stands at them from the start; `data` is a folder of real samples, or none."""

    devices: dict[str, BenchDevice]
    person: str | None = None
    data: str | None = None


def load_bench(path: Path) -> BenchConfig:
    """The configuration in a TOML file; raises `LabError`."""
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=BenchConfig)
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}", "Name a file that exists.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: {error}", "docs/lab.md has an example of a bench.") from None
    for name, device in config.devices.items():
        if _NAME.fullmatch(name) is None:
            raise LabError(f"{path}: {name!r} is no name of a device", "Use 1 to 40 of a-z, A-Z, 0-9, - and _.")
        if device.model not in MODELS:
            known = ", ".join(sorted(MODELS))
            raise LabError(f"{path}: device {name!r} has no model {device.model!r}", f"The models are {known}.")
    return config


class Bench:
    """The served devices, and the commands that move them."""

    def __init__(self, config: BenchConfig, folder: Path, stack: ExitStack) -> None:
        """Serve every device until `stack` ends; raises `LabError`."""
        self._people = personas_of(config.data) if config.person is not None or config.data else {}
        self.served: dict[str, Served] = {}
        for name, device in config.devices.items():
            place = folder / name
            place.mkdir(mode=0o700, exist_ok=True)
            self.served[name] = _serve(name, device, place, stack)
        devices = {name: served.device for name, served in self.served.items()}
        try:
            self._board = FaultBoard(devices, {name: device.faults for name, device in config.devices.items()})
        except ValueError as error:
            raise LabError(str(error), "Correct the faults of the bench's configuration.") from None
        self._send(config.person)

    def describe(self) -> dict[str, Any]:
        """By device: driver, options, environment, and the faults that it can play."""
        return {name: served.describe() for name, served in self.served.items()}

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command; one that makes no sense is answered with `error`."""
        try:
            return {"ok": True, **self._obey(command)}
        except (KeyError, TypeError, ValueError, LabError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    def _obey(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["op"]:
            case "person":
                self._send(command["person"])
            case "describe":
                return {"devices": self.describe()}
            case "ping":
                pass
            case _:
                return self._board.obey(command)
        return {}

    def _send(self, name: str | None) -> None:
        if name is not None and not self._people:
            self._people = personas_of(None)
        if name is not None and name not in self._people:
            raise LabError(f"nobody is called {name!r}; there are {', '.join(sorted(self._people))}")
        persona = None if name is None else self._people[name]
        for served in self.served.values():
            served.attend(persona)


def run_bench(config: BenchConfig, folder: Path, announce: Callable[[Mapping[str, Any]], None]) -> None:
    """Serve the devices until SIGTERM or SIGINT; `announce` gets their description once all are there."""
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    _take(folder)
    with ExitStack() as stack:
        bench = Bench(config, folder, stack)
        control = stack.enter_context(ControlServer(folder / CONTROL_SOCKET, bench))
        threading.Thread(target=control.serve_forever, name="control", daemon=True).start()
        stack.callback(control.shutdown)
        ready = folder / f"{READY_FILE}.new"
        ready.write_text(json.dumps({"pid": os.getpid(), "devices": bench.describe()}))
        ready.rename(folder / READY_FILE)
        announce(bench.describe())
        done.wait()


def _take(folder: Path) -> None:
    """Make the folder; raises `LabError` when that fails, or when another bench or station serves there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{folder}: {error.strerror}", "Name a folder that can be made, with --folder.") from None
    with suppress(OSError, ValueError):
        hook.ask(os.fspath(folder / CONTROL_SOCKET), {"op": "ping"}, _PING_S)
        raise LabError(f"another bench serves in {folder}", "End it with Ctrl-C, or name another folder.")


def _serve(name: str, device: BenchDevice, folder: Path, stack: ExitStack) -> Served:
    try:
        return MODELS[device.model](device.options, folder, stack)
    except (TypeError, ValueError) as error:
        raise LabError(f"device {name!r}: {error}", f"Correct the options of model {device.model!r}.") from None
