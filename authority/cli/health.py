"""`keyvigil-authority health`: what is not in order, and what to do; of an authority that is stopped as well."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from authority.cli.client import connect, target_options
from authority.cli.output import CommandFailed, emit, json_option, printable


@click.command()
@target_options
@click.option(
    "--ready", is_flag=True, help="Ask only whether it answers and nothing hinders it, as a container's check."
)
@json_option
def health(as_json: bool, ready: bool, **options: Any) -> None:
    """Examine the authority; ends with status 1 when something is not in order.

    Where it does not answer, its state folder is examined instead; not with --ready, which then fails.
    """
    state: Path = options["state"]
    try:
        report = connect(options).get("/v1/health")
    except CommandFailed as failure:
        if failure.status or ready:
            raise
        report = _of_folder(state)
    emit(report, as_json, _print_report)
    if not report["ready" if ready else "healthy"]:
        sys.exit(1)


def _of_folder(state: Path) -> dict[str, Any]:
    from authority.alerts.destinations import destinations
    from authority.config import load_site
    from authority.health import examine_stopped
    from authority.service import peek

    site = load_site(state)
    names = [each.name for each in destinations(site)]
    return examine_stopped(site, names, lambda view: peek(site, view), time.time()).as_dict()


def _print_report(report: dict[str, Any]) -> None:
    if report["healthy"]:
        click.echo("everything is in order")
    for each in report["findings"]:
        mark = "FAILS" if each["hinders"] else "warns"
        click.echo(f"{mark}  {each['check']}: {printable(each['reason'])}")
        click.echo(f"       remedy: {printable(each['remedy'])}")
