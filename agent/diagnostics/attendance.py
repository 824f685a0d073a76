"""Somebody must be at the machine before its sensors are tested or a picture is taken (docs/DESIGN, presence)."""

from __future__ import annotations

import importlib

from agent.config import Config, DeviceSection, DevicesSection, NodeSection
from agent.errors import AgentError
from hal import Deadline

PRESENCE_S = 10.0
UNATTENDED_REMEDY = "Do it at the machine, or pass --unattended if nobody need be there."


def require_person(config: Config | None) -> None:
    """Return when somebody sits at the machine; raises `NobodyPresent` or another error of the house.

    Without a configuration the default presence driver is asked.
    """
    try:
        presence = importlib.import_module("agent.presence")
    except ModuleNotFoundError:
        raise AgentError("whether somebody sits at this machine cannot be told", remedy=UNATTENDED_REMEDY) from None
    presence.require_presence(config or _bare_config(), Deadline.after(PRESENCE_S))


def _bare_config() -> Config:
    """A configuration in which everything that can be left out is."""
    node = NodeSection(name="unconfigured", state_dir="/nonexistent", authority="https://localhost")
    return Config(node=node, devices=DevicesSection(enclave=DeviceSection(driver="none", sha256="0" * 64)))
