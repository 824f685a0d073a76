"""Whether somebody is at the machine, asked before anything that a person should be at the machine for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from agent.config import Config, PresenceSection
from agent.devices import pinned_driver, sensor_identity
from agent.errors import NobodyPresent
from agent.log import event, printable
from hal import (
    Absence,
    Deadline,
    DeviceError,
    DeviceKind,
    NotFound,
    Presence,
    PresenceSensor,
    Transport,
)
from protocol.messages import PresenceClaim, SensorIdentity


@dataclass(frozen=True)
class Witnessed(Presence):
    """Somebody is there; `claim` is what evidence says of it."""

    claim: PresenceClaim


def require_presence(
    config: Config, deadline: Deadline, on_ready: Callable[[], None] | None = None
) -> Witnessed | None:
    """Somebody at the machine, by `deadline` or within the configured time; raises `NobodyPresent`.

    `None` where the configuration has no presence sensor, or does not insist on it and nobody is there. A sensor that
    fails is nobody. `on_ready` is called when the person has to act now: press the button.
    """
    section = config.presence
    if section is None:
        return None
    try:
        found = _confirm(section, deadline.within(section.timeout_s), on_ready)
    except DeviceError as error:
        found = Absence(f"it cannot be told whether somebody is at the machine: {error}", error.remedy)
    if isinstance(found, Witnessed):
        event(logging.INFO, "somebody is at the machine", by=found.kind, detail=printable(found.detail))
        return found
    if section.required:
        raise NobodyPresent(found.reason, remedy=found.remedy)
    event(logging.WARNING, "nobody is at the machine", reason=printable(found.reason))
    return None


def check_presence_driver(config: Config) -> None:
    """Raise `NotFound` or `PermissionDenied` unless the configured driver is there with its pinned hash."""
    if config.presence is not None:
        pinned_driver(config.presence, DeviceKind.PRESENCE, "presence", "presence")


def presence_identity(config: Config) -> SensorIdentity | None:
    """Identity of the presence sensor, if the configuration has one; raises `NotFound` when it is not there."""
    section = config.presence
    if section is None:
        return None
    driver, entry = pinned_driver(section, DeviceKind.PRESENCE, "presence", "presence")
    found = driver.list(section.options)
    if not found:
        raise NotFound(f"the presence sensor of driver {section.driver!r} is not there")
    return sensor_identity(found[0], entry)


def _confirm(section: PresenceSection, deadline: Deadline, on_ready: Callable[[], None] | None) -> Witnessed | Absence:
    driver, entry = pinned_driver(section, DeviceKind.PRESENCE, "presence", "presence")
    with driver.open(section.options, deadline) as device:
        transport = device.info.transport
        if transport is Transport.VIRTUAL:
            event(logging.WARNING, "presence is told by a simulated sensor", driver=section.driver)
        found = cast(PresenceSensor, device).confirm(deadline, on_ready)
    if isinstance(found, Absence):
        return found
    claim = PresenceClaim(kind=found.kind, driver=section.driver, driver_sha256=entry.sha256, transport=transport.value)
    return Witnessed(found.kind, found.detail, found.checked_ns, claim)
