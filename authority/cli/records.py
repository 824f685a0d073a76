"""`keyvigil-authority alert|policy …`."""

from __future__ import annotations

import json
from typing import Any

import click

from authority.cli.client import connect, target_options
from authority.cli.output import CommandFailed, emit, json_option, table, when

_SEVERITIES = ["critical", "error", "warning", "notice", "info"]


@click.group()
def alert() -> None:
    """Alerts."""


@alert.command("list")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only alerts with a higher id.")
@click.option("--open", "unacknowledged", is_flag=True, help="Only those that nobody acknowledged.")
@click.option("--severity", type=click.Choice(_SEVERITIES), help="Only this severity and worse.")
@target_options
@json_option
def list_alerts(after: int, unacknowledged: bool, severity: str | None, as_json: bool, **options: Any) -> None:
    """Alerts, oldest first."""
    query = {"after": after, "open": "true" if unacknowledged else None, "severity": severity}
    emit(connect(options).get("/v1/alerts", **query), as_json, _print_alerts)


def _print_alerts(alerts: list[dict[str, Any]]) -> None:
    rows = []
    for each in alerts:
        times = f" ({each['repeats'] + 1} times)" if each["repeats"] else ""
        seen = each["acknowledged_by"] or ""
        rows.append([each["id"], when(each["at"]), each["severity"], each["node"], each["text"] + times, seen])
    table("Alerts", ("id", "at", "severity", "node", "text", "seen by"), rows)


@alert.command("ack")
@click.argument("alert_id", type=click.IntRange(min=1))
@click.option("--reason", required=True, help="What you found; it goes into the audit log.")
@target_options
@json_option
def acknowledge(alert_id: int, reason: str, as_json: bool, **options: Any) -> None:
    """Note that you looked at an alert."""
    done = connect(options).post(f"/v1/alerts/{alert_id}/acknowledge", {"reason": reason})
    emit(done, as_json, lambda _: click.echo(f"alert {alert_id}: acknowledged"))


@alert.command("sinks")
@target_options
@json_option
def list_destinations(as_json: bool, **options: Any) -> None:
    """Where alerts go, and what became of them there."""
    emit(connect(options).get("/v1/alert-destinations"), as_json, _print_destinations)


def _print_destinations(found: list[dict[str, Any]]) -> None:
    counts = ("waiting", "sent", "failed", "dropped")
    rows = [
        [each["name"], each["format"], *(each[name] for name in counts), when(each["last_sent_at"]), _trouble(each)]
        for each in found
    ]
    table("Alert destinations", ("name", "format", *counts, "last sent", "trouble"), rows)


def _trouble(each: dict[str, Any]) -> str:
    if (each["last_error_at"] or 0) <= (each["last_sent_at"] or 0):
        return ""
    return f"{'STUCK: ' if each['stuck'] else ''}{each['last_error']}"


@alert.command("test")
@click.argument("name")
@target_options
@json_option
def try_destination(name: str, as_json: bool, **options: Any) -> None:
    """Send a test record to the destination NAME now."""
    done = connect(options).post("/v1/alert-destinations/test", {"name": name})
    if not done["ok"]:
        raise CommandFailed(f"{name} did not take the test: {done['error']}", "Correct [[alerts.destinations]].")
    emit(done, as_json, lambda _: click.echo(f"{name}: took the test record in {done['seconds']:g} s"))


@alert.command("stuck")
@target_options
@json_option
def list_refused(as_json: bool, **options: Any) -> None:
    """Alerts that a destination refuses for what they are: those still tried, and those set aside."""
    emit(connect(options).get_all("/v1/refused-alerts"), as_json, _print_refused)


def _print_refused(found: list[dict[str, Any]]) -> None:
    if not found:
        click.echo("no destination refuses an alert")
        return
    rows = [
        [each["destination"], each["alert_id"], each["kind"], each["tries"], when(each["set_aside_at"]), each["cause"]]
        for each in found
    ]
    table("Refused alerts", ("destination", "alert", "kind", "tries", "set aside", "cause"), rows)


def _on_refused(verb: str, help_text: str, said: str) -> None:
    @alert.command(verb, help=help_text)
    @click.argument("destination")
    @click.argument("alert_id", metavar="ALERT", type=click.IntRange(min=1))
    @click.option("--reason", required=True, help="Why; it goes into the audit log.")
    @target_options
    @json_option
    def act(destination: str, alert_id: int, reason: str, as_json: bool, **options: Any) -> None:
        body = {"destination": destination, "alert": alert_id, "reason": reason}
        done = connect(options).post(f"/v1/refused-alerts/{verb}", body)
        if not done["ok"]:
            raise CommandFailed(
                f"{destination} does not take it: {done['error']}", "Mend the receiver, or `alert discard` it."
            )
        emit(done, as_json, lambda _: click.echo(f"alert {alert_id}: {said}"))


_on_refused("retry", "Send an alert that is set aside at DESTINATION once more, now.", "taken")
_on_refused("discard", "Let an alert go that is set aside at DESTINATION; it stays in the list.", "let go")


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
