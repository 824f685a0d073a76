"""`keyvigil diag`: every configured device and everything around it tested, each finding with its remedy."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from agent.commands._common import configured, json_option, print_json
from agent.config import Config
from agent.devices import configured_options, configured_pins
from agent.diagnostics import Finding, exit_status, worst
from agent.diagnostics.attached import unclaimed
from agent.diagnostics.attendance import require_person
from agent.diagnostics.bundle import Material, check_target, write_bundle
from agent.diagnostics.live import LiveView, live_targets
from agent.diagnostics.machine import Machine
from agent.diagnostics.needs import missing
from agent.diagnostics.plan import Diagnosis
from agent.diagnostics.rendering import NoProgress, ScreenProgress, report
from agent.diagnostics.surveying import survey
from agent.diagnostics.targets import configured_targets, found_targets
from agent.errors import ConfigError, StateError
from agent.log import printable
from hal import NotFound

PICTURE_WIDTH = 110
_New = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="The node's TOML configuration.")
@click.option("--live", is_flag=True, help="Show microphone level and camera image quality until Ctrl-C.")
@click.option("--seconds", type=click.FloatRange(min=0.1, max=86_400), help="End --live by itself.")
@click.option("--bundle", type=_New, help="Write a support archive (tar.gz), without secrets, to this new file.")
@click.option("--log", type=_New, help="The agent's log for --bundle; the journal without it.")
@click.option("--picture", type=_New, help="Save the report as SVG here.")
@click.option("--unattended", is_flag=True, help="Do it although nobody sits at this machine; no finger is asked for.")
@json_option
def diag(config_path: Path | None, unattended: bool, as_json: bool, **wishes: Any) -> int:
    """Test this node: its devices, its host, its authority. Exit status 0: well, 1: errors, 3: warnings only."""
    wanted = Wishes(**wishes)
    wanted.check(as_json=as_json)
    config = configured(config_path) if config_path else None
    if not unattended:
        require_person(config)
    if wanted.live:
        _live(config, wanted.seconds)
        return 0
    findings = _run(config, attended=not unattended, as_json=as_json)
    members = _bundle(wanted.bundle, config, findings, wanted.log) if wanted.bundle else []
    _print(findings, wanted, members, as_json=as_json)
    return exit_status(findings)


@dataclass(frozen=True)
class Wishes:
    """What is to come of the diagnosis beside its report."""

    live: bool
    seconds: float | None
    bundle: Path | None
    log: Path | None
    picture: Path | None

    def check(self, *, as_json: bool) -> None:
        """Raise `UsageError` for wishes that exclude one another, `ConfigError` for a file that cannot be made."""
        if self.live and (as_json or self.bundle or self.picture):
            raise click.UsageError("--live shows, and makes no JSON, archive or picture")
        if self.seconds is not None and not self.live:
            raise click.UsageError("--seconds is for --live")
        if self.log is not None and self.bundle is None:
            raise click.UsageError("--log is for --bundle")
        if self.log is not None and not self.log.is_file():
            raise ConfigError(f"{self.log} is no file", remedy="Name the agent's log with --log.")
        for path in (self.bundle, self.picture):
            if path is not None:
                check_target(path)


def _run(config: Config | None, *, attended: bool, as_json: bool) -> list[Finding]:
    diagnosis = Diagnosis(config, Machine(), attended)
    with nullcontext(NoProgress()) if as_json else ScreenProgress(Console(stderr=True)) as progress:
        return diagnosis.run(progress)


def _live(config: Config | None, seconds: float | None) -> None:
    found = configured_targets(config) if config else found_targets(survey({}, NoProgress()))
    targets = live_targets(found)
    if not targets:
        raise NotFound("there is neither a microphone nor a camera to show")
    LiveView(targets).show(Console(), seconds)


def _bundle(path: Path, config: Config | None, findings: Sequence[Finding], log: Path | None) -> list[str]:
    machine = Machine()
    options, pins = (configured_options(config), configured_pins(config)) if config else ({}, {})
    reports = survey(options, NoProgress(), pins)
    claimed = [info for each in reports for info in each.attached]
    rest = unclaimed(machine, claimed), missing(machine)
    return write_bundle(path, Material(config, findings, reports, *rest, log=log, machine=machine))


def _print(findings: Sequence[Finding], wanted: Wishes, members: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        plain = {"worst": worst(findings).value, "findings": [finding.plain() for finding in findings]}
        made = {"bundle": {"path": str(wanted.bundle), "members": list(members)}} if wanted.bundle else {}
        print_json(plain | made)
    else:
        console = Console()
        console.print(report(findings))
        if wanted.bundle:
            what = f"{printable(wanted.bundle)}: {', '.join(members)}. Read it before you hand it on."
            console.print(Text(what), soft_wrap=True)
    if wanted.picture is not None:
        paper = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True)
        paper.print(report(findings))
        save(wanted.picture, paper.export_svg(title="keyvigil diag"))


def save(path: Path, text: str) -> None:
    """Write a new file whole; raises `StateError` and leaves nothing when that fails."""
    made = False
    try:
        with path.open("x", encoding="utf-8") as file:
            made = True
            file.write(text)
    except OSError as error:
        if made:
            path.unlink(missing_ok=True)
        raise StateError(f"{path}: {error.strerror}", remedy="Name a new file in a folder with room.") from None
