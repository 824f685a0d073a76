"""`keyvigil-authority alert|audit|policy …`."""

from __future__ import annotations

import json
from typing import Any

import click

from authority.cli.client import connect, target_options
from authority.cli.output import CommandFailed, emit, json_option, table, when


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
def audit() -> None:
    """The audit log."""


@audit.command("list")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only records with a higher number.")
@target_options
@json_option
def list_audit(after: int, as_json: bool, **options: Any) -> None:
    """Audit records, oldest first."""
    emit(connect(options).get("/v1/audit", after=after), as_json, _print_audit)


def _print_audit(records: list[dict[str, Any]]) -> None:
    rows = [[each["seq"], when(each["at"]), each["kind"], each["actor"], json.dumps(each["data"])] for each in records]
    table("Audit log", ("seq", "at", "kind", "actor", "data"), rows)


@audit.command("verify")
@target_options
@json_option
def verify_audit(as_json: bool, **options: Any) -> None:
    """Walk the log's hash chain; exit status 1 when a record does not hold."""
    found = connect(options).get("/v1/audit/verify")
    emit(found, as_json, lambda value: click.echo(f"{value['length']} records hold; head {value['head']}"))
    if not found["intact"]:
        raise CommandFailed(
            f"the audit log does not hold at record {found['broken_at']}: {found['reason']}",
            "Compare with a copy of the database; somebody has changed it.",
        )


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
