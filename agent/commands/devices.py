"""`keyvigil devices`: drivers with the hashes to pin, what each of them sees, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from agent.commands._common import configured, json_option, print_json
from agent.config import Config
from agent.devices import configured_options, configured_pins
from agent.diagnostics import exit_status
from agent.diagnostics.attached import unclaimed
from agent.diagnostics.inventory import Inventory, change_line, show
from agent.diagnostics.machine import Machine
from agent.diagnostics.needs import missing
from agent.diagnostics.rendering import NoProgress, ScreenProgress
from agent.diagnostics.surveying import survey
from agent.diagnostics.udev import rules_text
from agent.diagnostics.watching import watch_all
from agent.modalities import available_modalities


@click.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Use the device options of this file.")
@click.option("--watch", is_flag=True, help="Show arrivals and departures until Ctrl-C.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True, max=86_400), help="End --watch by itself.")
@click.option("--udev-rules", is_flag=True, help="Print the udev rules to install, and nothing else.")
@json_option
def devices(config_path: Path | None, watch: bool, seconds: float | None, udev_rules: bool, as_json: bool) -> int:
    """List drivers, their SHA-256 for the configuration, the devices attached, and what is missing."""
    if seconds is not None and not watch:
        raise click.UsageError("--seconds is for --watch")
    if udev_rules:
        click.echo(rules_text(), nl=False)
        return 0
    config = configured(config_path) if config_path else None
    if watch:
        _watch(config, seconds, as_json=as_json)
        return 0
    inventory = _take(config, as_json=as_json)
    if as_json:
        print_json(inventory.plain())
    else:
        show(inventory, Console())
    return exit_status(inventory.findings)


def _take(config: Config | None, *, as_json: bool) -> Inventory:
    options, pins = (configured_options(config), configured_pins(config)) if config else ({}, {})
    if as_json:
        reports = survey(options, NoProgress(), pins)
    else:
        with ScreenProgress(Console(stderr=True)) as progress:
            reports = survey(options, progress, pins)
    machine = Machine()
    claimed = [info for report in reports for info in report.attached]
    modalities = {each.name: each.sha256 for each in available_modalities().values()}
    return Inventory.of(config, reports, unclaimed(machine, claimed), missing(machine), modalities)


def _watch(config: Config | None, seconds: float | None, *, as_json: bool) -> None:
    console = Console()
    options, pins = (configured_options(config), configured_pins(config)) if config else ({}, {})
    try:
        for change in watch_all(options, seconds, pins=pins):
            if as_json:
                click.echo(json.dumps(change.plain(), sort_keys=True))
            else:
                console.print(change_line(change), soft_wrap=True)
    except KeyboardInterrupt:
        # Ending the watch is no interruption of anything.
        return
