"""Drivers and other plug-ins by entry point, pinned by the hash of the package that implements them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class MakesDevice(Protocol):
    """A driver whose `open` makes the device when it is missing; who must not make any asks before."""

    def is_made(self, options: Mapping[str, Any]) -> bool:
        """Whether the device that `options` name was made; changes nothing, raises what `list` raises."""
        ...


@dataclass(frozen=True)
class PluginEntry:
    """Code that is installed: its name, and the SHA-256 of its package's code, without having loaded it."""

    name: str
    module: str
    sha256: str


DriverEntry = PluginEntry
"""A driver that is installed."""


def available_drivers() -> dict[str, DriverEntry]:
    """Every installed driver by name; a name that two packages offer raises `PermissionDenied`.

    A driver whose module is missing is left out, so that one broken package does not take the others away.
    """
    return available_plugins(DRIVER_GROUP, "driver")


def load_driver(name: str, pinned_sha256: str | None) -> tuple[Driver, DriverEntry]:
    """Import and instantiate the driver `name`, if its module hashes to `pinned_sha256`.

    `None` skips the pin (discovery, diagnostics). Raises `NotFound` and `PermissionDenied`.
    """
    load, entry = load_plugin(DRIVER_GROUP, "driver", name, pinned_sha256)
    driver: Driver = load()
    return driver, entry


def available_plugins(group: str, what: str) -> dict[str, PluginEntry]:
    """What installed packages offer in an entry-point group, by name; `what` is its word in errors."""
    return {name: entry for name, (entry, _) in _installed(group, what).items()}


def load_plugin(group: str, what: str, name: str, pinned_sha256: str | None) -> tuple[Callable[..., Any], PluginEntry]:
    """Import what the entry point names, once its package hashes to `pinned_sha256`; it is not called yet.

    `None` skips the pin. Raises `NotFound` and `PermissionDenied`.
    """
    installed = _installed(group, what)
    if name not in installed:
        known = ", ".join(sorted(installed)) or "none"
        raise NotFound(f"no {what} named {name!r} is installed", remedy=f"Install its package; installed are: {known}.")
    entry, point = installed[name]
    if pinned_sha256 is not None and entry.sha256 != pinned_sha256.lower():
        raise PermissionDenied(
            f"{what} {name!r} has SHA-256 {entry.sha256}, but the configuration pins {pinned_sha256.lower()}",
            remedy=f"If the change of the {what} is meant, put the new hash into the configuration.",
        )
    try:
        plugin: Callable[..., Any] = point.load()
    except AttributeError as error:
        raise NotFound(
            f"the package of the {what} {name!r} does not have what it offers: {error}",
            remedy="Install the package again, in the version that was approved.",
        ) from error
    return plugin, entry


def _installed(group: str, what: str) -> dict[str, tuple[PluginEntry, EntryPoint]]:
    """What is in a group, from one reading of the packages' metadata: what was hashed is what is loaded."""
    found: dict[str, tuple[PluginEntry, EntryPoint]] = {}
    sha256_of = cache(_package_sha256)
    for point in entry_points(group=group):
        if point.name in found:
            raise PermissionDenied(
                f"two installed packages offer a {what} named {point.name!r}",
                remedy="Uninstall one of the two packages.",
            )
        with suppress(NotFound):
            sha256 = sha256_of(point.module.partition(".")[0])
            found[point.name] = PluginEntry(point.name, point.module, sha256), point
    return found


def _package_sha256(package: str) -> str:
    """Hash over every Python file of a top-level package, in sorted order.

    A plug-in shares code with its neighbours, so its own file alone would pin too little.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise NotFound(f"the package {package!r} is not installed")
    origin = Path(spec.origin)
    root = origin.parent
    files = sorted(root.rglob("*.py")) if spec.submodule_search_locations else [origin]
    digest = hashlib.sha256()
    try:
        for file in files:
            name = file.relative_to(root).as_posix().encode()
            digest.update(name + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    except FileNotFoundError:
        raise NotFound(f"the package {package!r} is being replaced") from None
    return digest.hexdigest()
