"""The devices that a diagnosis is about: those of the configuration, or without one what the drivers find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.config import Config, DeviceSection
from agent.devices import DeviceReport
from hal import Deadline, Device, DeviceInfo, MakesDevice, load_driver

ENCLAVE = "enclave"


@dataclass(frozen=True)
class Target:
    """One device: what it is called here (its section, or its driver), and how its driver opens it.

    `sha256` pins the driver where the configuration does; `others` are further devices that the driver lists.
    """

    name: str
    driver: str
    options: Mapping[str, Any] = field(repr=False)
    sha256: str | None = None
    others: tuple[DeviceInfo, ...] = ()

    @property
    def subject(self) -> str:
        """How findings call it."""
        return self.name if self.name == self.driver else f"{self.name} ({self.driver})"

    def kind(self) -> str:
        """What its driver drives; raises `NotFound`, `PermissionDenied`, `ImportError`."""
        return load_driver(self.driver, self.sha256)[0].kind

    def is_made(self) -> bool:
        """Whether there is something to open: some drivers would make it, which is not for a diagnosis to do."""
        driver, _ = load_driver(self.driver, self.sha256)
        return not isinstance(driver, MakesDevice) or driver.is_made(self.options)

    def open(self, deadline: Deadline) -> Device:
        """The device, claimed; raises what the driver raises."""
        return load_driver(self.driver, self.sha256)[0].open(self.options, deadline)


def configured_targets(config: Config) -> list[Target]:
    """The enclave and every sensor of the configuration, its infrared camera and its screen."""
    sections: dict[str, DeviceSection] = {**config.devices.sensors(), ENCLAVE: config.devices.enclave}
    beside = {"infrared": config.infrared, "display": config.display}
    sections |= {name: section for name, section in beside.items() if section is not None}
    return [Target(name, section.driver, section.options, section.sha256) for name, section in sections.items()]


def found_targets(reports: Sequence[DeviceReport]) -> list[Target]:
    """One target for every driver that sees a device: the one that it opens when no option narrows the choice."""
    return [
        Target(report.driver, report.driver, {}, others=report.attached[1:]) for report in reports if report.attached
    ]
