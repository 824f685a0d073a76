"""`keyvigil-authority alert|policy …`."""

from __future__ import annotations

import json
from typing import Any

import click

from authority.cli.client import connect, target_options
from authority.cli.output import emit, json_option, table, when


@click.group()
def alert() -> None:
    """Alerts."""


@alert.command("list")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only alerts with a higher id.")
@target_options
@json_option
def list_alerts(after: int, as_json: bool, **options: Any) -> None:
    """Alerts, oldest first."""
    emit(connect(options).get("/v1/alerts", after=after), as_json, _print_alerts)


def _print_alerts(alerts: list[dict[str, Any]]) -> None:
    rows = [[each["id"], when(each["at"]), each["severity"], each["node"], each["text"]] for each in alerts]
    table("Alerts", ("id", "at", "severity", "node", "text"), rows)


@click.group()
def policy() -> None:
    """The trust policy."""


@policy.command("show")
@target_options
@json_option
def show_policy(as_json: bool, **options: Any) -> None:
    """The policy in force."""
    emit(connect(options).get("/v1/policy"), as_json, lambda value: click.echo(json.dumps(value, indent=2)))


@policy.command("reload")
@target_options
@json_option
def reload_policy(as_json: bool, **options: Any) -> None:
    """Let a running authority read its policy file again; every decision from then on is by the new policy."""
    done = connect(options).post("/v1/policy/reload")
    emit(done, as_json, lambda value: click.echo(f"policy {value['version']} is in force ({value['sha256'][:16]})"))
