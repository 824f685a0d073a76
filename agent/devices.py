"""Devices that the configuration names: opened through pinned drivers, described for evidence and for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec

from agent.config import Config, DeviceSection
from agent.dimming import Dimmed
from agent.extension import Modality, SecondCamera
from hal import (
    Camera,
    Capability,
    Deadline,
    Device,
    DeviceError,
    DeviceInfo,
    DeviceKind,
    Display,
    Driver,
    DriverEntry,
    Enclave,
    MakesDevice,
    NotFound,
    PermissionDenied,
    Unsupported,
    available_drivers,
    load_driver,
)
from protocol.messages import SensorIdentity

ENCLAVE = "enclave"
"""The section of the configuration that is no modality's."""

DISPLAY = "display"
"""The table of the configuration for the screen."""


@dataclass(frozen=True)
class DeviceReport:
    """One line of `keyvigil devices`: a driver, and what it sees or why it sees nothing.

    `unmade` tells that its device is one that the driver makes at first use, and that was not used yet.
    """

    driver: str
    sha256: str
    attached: tuple[DeviceInfo, ...]
    error: str = ""
    remedy: str = ""
    unmade: bool = False


class Devices:
    """The devices of one configuration; each modality says of what kind its own must be."""

    def __init__(self, config: Config, modalities: Mapping[str, Modality]) -> None:
        self._sections: Mapping[str, DeviceSection] = {
            **config.devices.sensors(),
            ENCLAVE: config.devices.enclave,
        }
        self._display = config.display
        self._infrared = config.infrared
        self._kinds = {name: modality.kind for name, modality in modalities.items()} | {ENCLAVE: DeviceKind.ENCLAVE}

    @property
    def modalities(self) -> list[str]:
        """Modalities that have a sensor, in the order of the configuration."""
        return [name for name in self._sections if name != ENCLAVE]

    def check_drivers(self) -> None:
        """Raise `NotFound` or `PermissionDenied` unless every configured driver is there with its pinned hash."""
        for name in self._sections:
            self._driver(name)
        if self._display is not None:
            _display_driver(self._display)
        if self._infrared is not None:
            _infrared_driver(self._infrared)

    def open_enclave(self) -> Enclave:
        """The enclave, claimed; the caller closes it."""
        return cast(Enclave, self._driver(ENCLAVE).open(self._section(ENCLAVE).options))

    def open_sensor(self, name: str, deadline: Deadline) -> Device:
        """The device of a modality, claimed by `deadline`; the caller closes it."""
        return self._driver(name).open(self._section(name).options, deadline)

    def open_display(self, deadline: Deadline) -> Display:
        """The screen, claimed by `deadline`; the caller closes it. Raises `NotFound` where none is configured."""
        if self._display is None:
            raise NotFound("no screen is configured", remedy="Add [display] to the configuration.")
        screen = cast(Display, _display_driver(self._display).open(self._display.options, deadline))
        return Dimmed(screen, self._display.brightness)

    def open_infrared(self, deadline: Deadline) -> SecondCamera | None:
        """The infrared camera beside that of the face, claimed by `deadline`, where one is configured.

        Raises `Unsupported` for one that sees colour, and what drivers raise.
        """
        section = self._infrared
        if section is None:
            return None
        camera = cast(Camera, _infrared_driver(section).open(section.options, deadline))
        if Capability.INFRARED not in camera.info.capabilities:
            camera.close()
            raise Unsupported(
                f"the camera {camera.info.port} that the configuration names as infrared sees colour",
                remedy="Name the other node of the module under [infrared]; `keyvigil devices` tells them apart.",
            )
        return SecondCamera(camera, section.strobe)

    def infrared(self, deadline: Deadline) -> SensorIdentity | None:
        """Identity of the infrared camera, if one is configured; raises what `open_infrared` does.

        It is opened for that: its driver lists the other half of the same module as well.
        """
        second = self.open_infrared(deadline)
        if second is None:
            return None
        with second.camera as camera:
            return self.infrared_identity_of(camera)

    def infrared_identity_of(self, camera: Camera) -> SensorIdentity:
        """Identity of the open infrared camera; raises `NotFound` where none is configured."""
        if self._infrared is None:
            raise NotFound("no infrared camera is configured", remedy="Add [infrared] to the configuration.")
        return sensor_identity(camera.info, available_drivers()[self._infrared.driver])

    def display(self) -> SensorIdentity | None:
        """Identity of the screen, if one is configured; raises `NotFound` when it is not there."""
        if self._display is None:
            return None
        found = _display_driver(self._display).list(self._display.options)
        if not found:
            raise NotFound(f"the screen of driver {self._display.driver!r} is not there")
        return sensor_identity(found[0], available_drivers()[self._display.driver])

    def display_identity_of(self, display: Display) -> SensorIdentity:
        """Identity of the open screen; raises `NotFound` where none is configured."""
        if self._display is None:
            raise NotFound("no screen is configured", remedy="Add [display] to the configuration.")
        return sensor_identity(display.info, available_drivers()[self._display.driver])

    def identify(self, name: str) -> SensorIdentity:
        """Identity of the attached device behind section `name`; raises `NotFound` when it is not attached."""
        section = self._section(name)
        found = self._driver(name).list(section.options)
        if not found:
            raise NotFound(f"the {name} device of driver {section.driver!r} is not attached")
        return self._identity(name, found[0])

    def identity_of(self, name: str, device: Device) -> SensorIdentity:
        """Identity of an open device of section `name`."""
        return self._identity(name, device.info)

    def _identity(self, name: str, info: DeviceInfo) -> SensorIdentity:
        return sensor_identity(info, available_drivers()[self._section(name).driver])

    def _driver(self, name: str) -> Driver:
        return pinned_driver(self._section(name), self._kinds[name], name, f"devices.{name}")[0]

    def _section(self, name: str) -> DeviceSection:
        section = self._sections.get(name)
        if section is None:
            raise NotFound(f"no device is configured for {name}", remedy=f"Add [devices.{name}] to the configuration.")
        return section


def pinned_driver(section: DeviceSection, kind: str, use: str, table: str) -> tuple[Driver, DriverEntry]:
    """The driver that the configuration's `[table]` names for `use`; raises `PermissionDenied` for one of another kind.

    And what `load_driver` raises, where its code is not the pinned one.
    """
    driver, entry = load_driver(section.driver, section.sha256)
    if driver.kind != kind:
        raise PermissionDenied(
            f"driver {section.driver!r} drives a {driver.kind}, but the configuration names it for {use}",
            remedy=f"Name a driver of kind {kind} under [{table}].",
        )
    return driver, entry


def _display_driver(section: DeviceSection) -> Driver:
    return pinned_driver(section, DeviceKind.DISPLAY, "the screen", "display")[0]


def _infrared_driver(section: DeviceSection) -> Driver:
    return pinned_driver(section, DeviceKind.CAMERA, "infrared", "infrared")[0]


def sensor_identity(info: DeviceInfo, entry: DriverEntry) -> SensorIdentity:
    """The wire form of a device's identity, with the hash of the driver that was loaded, and that it is weak."""
    return SensorIdentity(
        kind=str(info.kind),
        driver=info.driver,
        driver_sha256=entry.sha256,
        transport=info.transport.value,
        port=info.port,
        vendor_id=info.vendor_id,
        product_id=info.product_id,
        serial=info.serial,
        strength="match-only" if Capability.MATCH_ONLY in info.capabilities else msgspec.UNSET,
    )


def configured_options(config: Config) -> dict[str, Mapping[str, Any]]:
    """Options by driver name, as the configuration gives them."""
    return {section.driver: section.options for section in _sections(config)}


def configured_pins(config: Config) -> dict[str, str]:
    """The SHA-256 that the configuration pins, by driver name."""
    return {section.driver: section.sha256 for section in _sections(config)}


def _sections(config: Config) -> list[DeviceSection]:
    others = [section for section in (config.presence, config.display, config.infrared) if section is not None]
    return [*config.devices.sensors().values(), config.devices.enclave, *others]


def look(entry: DriverEntry, options: Mapping[str, Any], sha256: str | None = None) -> DeviceReport:
    """What one driver sees, or why it sees nothing; one that has a pin and is another is not loaded."""
    try:
        driver, _ = load_driver(entry.name, sha256)
        infos = tuple(replace(info, driver_sha256=entry.sha256) for info in driver.list(options))
        unmade = bool(options) and isinstance(driver, MakesDevice) and not driver.is_made(options)
    except DeviceError as error:
        return DeviceReport(entry.name, entry.sha256, (), str(error), error.remedy)
    except ImportError as error:
        remedy = "Install the extra of this driver, for example `pip install keyvigil[agent]`."
        return DeviceReport(entry.name, entry.sha256, (), f"a library is missing: {error.name}", remedy)
    return DeviceReport(entry.name, entry.sha256, infos, unmade=unmade)
