"""`keyvigil capture`: one capture to a file, with a picture of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agent.commands._common import configured, json_option, print_json
from agent.config import Config
from agent.devices import DeviceReport
from agent.diagnostics import capture as capturing
from agent.diagnostics.attendance import require_person
from agent.diagnostics.pictures import Pixels, half_blocks
from agent.diagnostics.plan import SENSORS_WAIT_S, private_state
from agent.diagnostics.rendering import NoProgress
from agent.diagnostics.surveying import survey
from agent.errors import AgentError
from agent.log import printable
from hal import Deadline

NOTICE = (
    "This stores biometric data of whoever is at the sensor in a file, unprotected but for its mode 0600. "
    "Keyvigil itself never does that. Capture people only with their consent, and delete the file when it has served."
)
_LARGEST_PICTURE = 100
"""Columns of the terminal."""


@click.command()
@click.argument("kind")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A new file: .png, or .wav for a microphone."
)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Use the device of this file.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=60),
    help="Length of a recording (5), or how long to wait for a finger (20) or a picture (10).",
)
@click.option("--i-have-consent", "consent", is_flag=True, help="The person agreed: do not ask.")
@click.option("--unattended", is_flag=True, help="Do it although nobody sits at this machine.")
@json_option
def capture(
    kind: str,
    out: Path,
    config_path: Path | None,
    seconds: float | None,
    consent: bool,
    unattended: bool,
    as_json: bool,
) -> None:
    """Capture once from the device of KIND (fingerprint, camera, microphone), and show it."""
    config = configured(config_path) if config_path else None
    target = capturing.choose(kind, config, _reports(config))
    files = capturing.check_target(out, kind, config)
    _agree(consent=consent)
    if not unattended:
        require_person(config)
    waits = {"fingerprint": 20.0, "camera": 10.0, "microphone": 5.0}
    with ExitStack() as stack:
        if (state := private_state(config)) is not None:
            stack.enter_context(state.sensor_lock(Deadline.after(SENSORS_WAIT_S)))
        captured = capturing.take(target, kind, seconds or waits[kind], _say)
    capturing.store(files, captured)
    if as_json:
        print_json({"files": [str(file) for file in files], "device": target.subject, **captured.facts})
    else:
        _show(captured.picture, files)


def _reports(config: Config | None) -> Sequence[DeviceReport]:
    return survey({}, NoProgress()) if config is None else []


def _agree(*, consent: bool) -> None:
    """Show the notice; raises `AgentError` unless the person at the terminal agrees, or `consent` says so."""
    click.echo(NOTICE, err=True)
    if consent:
        return
    if not sys.stdin.isatty():
        raise AgentError("nobody agreed to this capture", remedy="Ask the person, then pass --i-have-consent.")
    if not click.confirm("Has the person at the sensor agreed?", err=True):
        raise AgentError("the person did not agree; nothing was captured", remedy="Nothing is to be done.")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _show(picture: Pixels, files: Iterable[Path]) -> None:
    console = Console()
    columns, lines = min(console.width, _LARGEST_PICTURE), max(8, console.height - 3)
    if console.is_terminal:
        console.print(half_blocks(picture, columns, lines))
    for file in files:
        console.print(Text(f"{printable(file)}  (mode 0600; delete it when it has served)"), soft_wrap=True)
