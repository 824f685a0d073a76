"""Options and output that the commands share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from agent.config import Config, load_config
from agent.errors import ConfigError
from agent.log import setup_logging
from protocol.codec import ProtocolViolation

T = TypeVar("T")

_LARGEST_SECRET_FILE = 4096

config_option = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), required=True, help="The node's TOML configuration."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def configured(path: Path) -> Config:
    """The configuration, with logging set up as it says."""
    config = load_config(path)
    setup_logging(config.log.level, config.log.format)
    return config


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
