"""Options and output that the commands share."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from agent.config import Config, load_config
from agent.errors import ConfigError
from agent.log import event, setup_logging
from agent.presence import require_presence
from hal import Deadline
from protocol.codec import ProtocolViolation

T = TypeVar("T")

_LARGEST_SECRET_FILE = 4096

config_option = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), required=True, help="The node's TOML configuration."
)
unattended_option = click.option(
    "--unattended", is_flag=True, help="Do not ask whether somebody is at the machine, where [presence] says to."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def configured(path: Path) -> Config:
    """The configuration, with logging set up as it says."""
    config = load_config(path)
    setup_logging(config.log.level, config.log.format)
    return config


def require_attended(config: Config, deadline: Deadline, *, unattended: bool) -> None:
    """Somebody at the machine, as `require_presence` has it, unless an operator said that nobody need be."""
    if unattended and config.presence is not None:
        event(logging.WARNING, "presence is not asked for: --unattended was given")
    elif not unattended:
        require_presence(config, deadline, lambda: click.echo("Press the button at the machine.", err=True))


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    click.echo(json.dumps(value, sort_keys=True))


def read_secret(source: str, what: str) -> str:
    """The first line of a file, or of standard input for ``-``; raises `ConfigError` without repeating it."""
    try:
        if source == "-":
            text = sys.stdin.readline(_LARGEST_SECRET_FILE)
        else:
            with os.fdopen(os.open(source, os.O_RDONLY | os.O_CLOEXEC), encoding="utf-8") as file:
                text = file.readline(_LARGEST_SECRET_FILE)
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"the {what} cannot be read from {source}: {cause}") from None
    if not text.strip():
        raise ConfigError(f"there is no {what} in {source}", remedy=f"Put the {what} on the first line.")
    return text.strip()


def parsed(text: str, parse: Callable[[str], T]) -> T:
    """`parse(text)`; a text that is not of the form is a usage error."""
    try:
        return parse(text)
    except ProtocolViolation as error:
        raise ConfigError(str(error), remedy="Ask the operator for a new one; each is good once.") from None
