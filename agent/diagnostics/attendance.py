"""Somebody must be at the machine before its sensors are tested or a picture is taken."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

from agent.config import Config, parse_config
from agent.errors import AgentError
from hal import Deadline, available_drivers

PRESENCE_S = 40.0
DEFAULT_DRIVER = "logind-seat"
PRESS = "Show that you are at the machine: press its button."
_REMEDY = "Do it at the machine, or pass --unattended if nobody need be there."


def require_person(config: Config | None) -> None:
    """Return when somebody is at the machine; raises `NobodyPresent` or another error of the house.

    The configured presence sensor tells, or without one whether somebody sits at a local seat. What is not required of
    a presentation is required here.
    """
    require = _require_presence()
    if config is None or getattr(config, "presence", None) is None:
        config = _default_sensor()
    if require(config, Deadline.after(PRESENCE_S), lambda: print(PRESS, file=sys.stderr)) is None:  # noqa: T201
        raise AgentError("nobody is at this machine", remedy=_REMEDY)


def _require_presence() -> Callable[..., object | None]:
    try:
        found: Callable[..., object | None] = importlib.import_module("agent.presence").require_presence
    except ModuleNotFoundError:
        raise AgentError("whether somebody sits at this machine cannot be told", remedy=_REMEDY) from None
    return found


def _default_sensor() -> Config:
    """A configuration in which nothing but the default presence sensor matters."""
    entry = available_drivers().get(DEFAULT_DRIVER)
    if entry is None:
        raise AgentError(f"the driver {DEFAULT_DRIVER} is not installed", remedy=_REMEDY)
    text = f"""
    node = {{ name = "unconfigured", state_dir = "/nonexistent", authority = "https://localhost" }}
    devices.enclave = {{ driver = "none", sha256 = "{"0" * 64}" }}
    presence = {{ driver = "{entry.name}", sha256 = "{entry.sha256}" }}
    """
    return parse_config(text.encode())
