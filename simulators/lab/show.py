"""What the bench's commands print, and how they reach a running bench or station."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from authority.cli.output import table
from hal import available_drivers
from simulators.lab import hook
from simulators.lab.hook import CONTROL_SOCKET
from simulators.lab.processes import LabError

ANSWER_S = 30.0


def announce(devices: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the devices of a bench as JSON, or as what an agent's configuration needs of them."""
    if as_json:
        click.echo(json.dumps({"devices": devices}))
        return
    drivers = available_drivers()
    for name, device in devices.items():
        click.echo(f"# {name}: can play {', '.join(device['faults'])}")
        for key, value in device["environment"].items():
            click.echo(f"# needs {key}={value}")
        click.echo(f'driver = "{device["driver"]}"')
        click.echo(f'sha256 = "{drivers[device["driver"]].sha256}"')
        click.echo(f"options = {_toml(device['options'])}\n")


def _toml(value: Any) -> str:
    """A value as TOML has it on one line; JSON's strings, numbers and lists are TOML's too."""
    if not isinstance(value, Mapping):
        return json.dumps(value)
    return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + " }"


def order(folder: Path, command: dict[str, object], *, as_json: bool) -> None:
    """Send one command, and print what came back; raises `LabError` when it is refused or nobody answers."""
    try:
        answer = hook.ask(os.fspath(folder / CONTROL_SOCKET), command, ANSWER_S)
    except OSError as error:
        raise LabError(
            f"nothing answers in {folder}: {error.strerror or error}", "Start it with `keyvigil-lab bench`."
        ) from None
    if not answer.pop("ok"):
        raise LabError(f"refused: {answer['error']}", "`keyvigil-lab faults` lists devices and faults.")
    if as_json:
        click.echo(json.dumps(answer))
    elif isinstance(found := answer.get("faults"), dict):
        table("Faults", ("device", "can play"), [(name, ", ".join(able)) for name, able in sorted(found.items())])
    else:
        click.echo("done")
