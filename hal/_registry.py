"""Drivers by entry point, pinned by the hash of the module that implements them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from hal._errors import NotFound, PermissionDenied
from hal._values import Deadline, Device, DeviceInfo

DRIVER_GROUP = "keyvigil.drivers"
"""The entry-point group in which a package offers drivers."""


class Driver(Protocol):
    """How to find and open devices of one family; an entry point names a class of this shape."""

    kind: str
    """A `DeviceKind`, or the name of a further kind that a modality of a third party senses."""

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The devices of this family that are attached now."""
        ...

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> Device:
        """Claim the device that `options` names, by `deadline` or within the driver's own limit, whichever is earlier.

        Raises `NotFound`, `Busy`, `PermissionDenied`, `TimedOut`, and other errors of the tree. One claimant at a time:
        a second opening raises `Busy`, unless the device has the capability `SHARED`.
        """
        ...


@dataclass(frozen=True)
class DriverEntry:
    """A driver that is installed: its name, and the SHA-256 of its package's code, without having loaded it."""

    name: str
    module: str
    sha256: str


def available_drivers() -> dict[str, DriverEntry]:
    """Every installed driver by name; a name that two packages offer raises `PermissionDenied`.

    A driver whose module is missing is left out, so that one broken package does not take the others away.
    """
    found: dict[str, DriverEntry] = {}
    for point in entry_points(group=DRIVER_GROUP):
        if point.name in found:
            raise PermissionDenied(
                f"two installed packages offer a driver named {point.name!r}",
                remedy="Uninstall one of the two packages.",
            )
        with suppress(NotFound):
            found[point.name] = DriverEntry(point.name, point.module, _module_sha256(point))
    return found


def load_driver(name: str, pinned_sha256: str | None) -> tuple[Driver, DriverEntry]:
    """Import and instantiate the driver `name`, if its module hashes to `pinned_sha256`.

    `None` skips the pin (discovery, diagnostics). Raises `NotFound` and `PermissionDenied`.
    """
    entry = available_drivers().get(name)
    if entry is None:
        raise NotFound(f"no driver named {name!r} is installed", remedy="Run `keyvigil devices` to list drivers.")
    if pinned_sha256 is not None and entry.sha256 != pinned_sha256.lower():
        raise PermissionDenied(
            f"driver {name!r} has SHA-256 {entry.sha256}, but the configuration pins {pinned_sha256.lower()}",
            remedy="If the change of the driver is meant, put the new hash into the configuration.",
        )
    (point,) = entry_points(group=DRIVER_GROUP, name=name)
    driver: Driver = point.load()()
    return driver, entry


def _module_sha256(point: EntryPoint) -> str:
    """Hash over every Python file of the top-level package that the driver comes from, in sorted order.

    A driver shares code with its neighbours, so its own file alone would pin too little.
    """
    spec = find_spec(point.module.partition(".")[0])
    if spec is None or spec.origin is None:
        raise NotFound(f"driver {point.name!r} names the module {point.module!r}, which is not installed")
    origin = Path(spec.origin)
    root = origin.parent
    files = sorted(root.rglob("*.py")) if spec.submodule_search_locations else [origin]
    digest = hashlib.sha256()
    for file in files:
        name = file.relative_to(root).as_posix().encode()
        digest.update(name + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
