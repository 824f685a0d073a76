"""The devices that a diagnosis is about: those of the configuration, or without one what the drivers find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.config import Config, DeviceSection
from agent.devices import DeviceReport
from hal import Deadline, Device, DeviceInfo, MakesDevice, load_driver

ENCLAVE = "enclave"
INFRARED = "infrared"
WITHOUT_INFRARED = (
    "A face whose enrolment names the infrared camera does not count without it: put it back, or take [infrared] out "
    "of the configuration and renew the profiles."
)


@dataclass(frozen=True)
class Target:
    """One device: what it is called here (its section, or its driver), and how its driver opens it.

    `sha256` pins the driver where the configuration does; `others` are further devices that the driver lists. `strobe`
    is what the configuration says of an infrared camera, and `None` for every other device.
    """

    name: str
    driver: str
    options: Mapping[str, Any] = field(repr=False)
    sha256: str | None = None
    others: tuple[DeviceInfo, ...] = ()
    strobe: bool | None = None

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
    if config.display is not None:
        sections["display"] = config.display
    found = [Target(name, section.driver, section.options, section.sha256) for name, section in sections.items()]
    if (second := config.infrared) is None:
        return found
    return [*found, Target(INFRARED, second.driver, second.options, second.sha256, strobe=second.strobe)]


def found_targets(reports: Sequence[DeviceReport]) -> list[Target]:
    """One target for every driver that sees a device: the one that it opens when no option narrows the choice."""
    return [
        Target(report.driver, report.driver, {}, others=report.attached[1:]) for report in reports if report.attached
    ]
