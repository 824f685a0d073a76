"""Drivers and other plug-ins by entry point, pinned by the hash of the package that implements them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, runtime_checkable

from hal._errors import NotFound, PermissionDenied
from hal._pinning import PackageCode
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
    """Code that is installed: its name, and the SHA-256 of its package, without having loaded it."""

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
    return {name: offer.entry for name, offer in _offers(group, what).items()}


def load_plugin(group: str, what: str, name: str, pinned_sha256: str | None) -> tuple[Callable[..., Any], PluginEntry]:
    """Import what the entry point names, once its package hashes to `pinned_sha256`; it is not called yet.

    What it imports of its package then and later must be what was hashed, or raises `PermissionDenied`. `None` skips
    the pin. Raises `NotFound` and `PermissionDenied`.
    """
    available = _offers(group, what)
    offer = available.get(name)
    if offer is None:
        known = ", ".join(sorted(available)) or "none"
        raise NotFound(f"no {what} named {name!r} is installed", remedy=f"Install its package; installed are: {known}.")
    if pinned_sha256 is not None:
        if offer.entry.sha256 != pinned_sha256.lower():
            raise PermissionDenied(
                f"{what} {name!r} has SHA-256 {offer.entry.sha256}, but the configuration pins {pinned_sha256.lower()}",
                remedy=f"If the change of the {what} is meant, put the new hash into the configuration.",
            )
        offer.code.pin()
    try:
        plugin: Callable[..., Any] = offer.point.load()
    except AttributeError as error:
        raise NotFound(
            f"the package of the {what} {name!r} does not have what it offers: {error}",
            remedy="Install the package again, in the version that was approved.",
        ) from error
    return plugin, offer.entry


@dataclass(frozen=True)
class _Offer:
    """An entry point, and the code of the package behind it as it was when it was hashed."""

    point: EntryPoint
    code: PackageCode

    @property
    def entry(self) -> PluginEntry:
        return PluginEntry(self.point.name, self.point.module, self.code.sha256)


def _offers(group: str, what: str) -> dict[str, _Offer]:
    found: dict[str, _Offer] = {}
    code_of = cache(PackageCode.of)
    for point in entry_points(group=group):
        if point.name in found:
            raise PermissionDenied(
                f"two installed packages offer a {what} named {point.name!r}",
                remedy="Uninstall one of the two packages.",
            )
        with suppress(NotFound):
            found[point.name] = _Offer(point, code_of(point.module.partition(".")[0]))
    return found
