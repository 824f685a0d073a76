"""Somebody must be at the machine before its sensors are tested or a picture is taken."""

from __future__ import annotations

import sys

import msgspec

from agent.config import Config, PresenceSection, parse_config
from agent.errors import NobodyPresent
from agent.presence import require_presence
from hal import Deadline, available_drivers

PRESENCE_S = 40.0
DEFAULT_DRIVER = "logind-seat"
PRESS = "Press the button at the machine."


def require_person(config: Config | None) -> None:
    """Return when somebody is at the machine; raises `NobodyPresent`.

    The configured presence sensor tells, or without one whether somebody sits at a local seat. What is not required of
    a presentation is required here.
    """
    section = _default_sensor() if config is None or config.presence is None else config.presence
    asked = msgspec.structs.replace(config or _bare_config(), presence=msgspec.structs.replace(section, required=True))
    require_presence(asked, Deadline.after(PRESENCE_S), lambda: print(PRESS, file=sys.stderr))  # noqa: T201


def _default_sensor() -> PresenceSection:
    entry = available_drivers().get(DEFAULT_DRIVER)
    if entry is None:
        raise NobodyPresent(f"the driver {DEFAULT_DRIVER}, which tells whether somebody sits here, is not installed")
    return PresenceSection(driver=entry.name, sha256=entry.sha256)


def _bare_config() -> Config:
    """A configuration in which nothing but the presence sensor matters."""
    text = f"""
    node = {{ name = "unconfigured", state_dir = "/nonexistent", authority = "https://localhost" }}
    devices.enclave = {{ driver = "none", sha256 = "{"0" * 64}" }}
    """
    return parse_config(text.encode())
