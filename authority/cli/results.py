"""`keyvigil-authority result list|subscribers|test`: attestation results for others."""

from __future__ import annotations

from typing import Any

import click

from authority.cli.client import connect, target_options
from authority.cli.output import CommandFailed, emit, json_option, table, when


@click.group()
def result() -> None:
    """Attestation results as they were issued, and who is sent them."""


@result.command("list")
@click.option("--node", help="Only those about this node.")
@click.option("--since", type=click.FloatRange(min=0), help="Only those issued since then (POSIX seconds).")
@target_options
@json_option
def listed(node: str | None, since: float | None, as_json: bool, **options: Any) -> None:
    """Results that are kept, oldest first; --json shows them signed."""
    emit(connect(options).get_all("/v1/attestation-results", node=node, since=since), as_json, _print_results)


def _print_results(found: list[dict[str, Any]]) -> None:
    rows = [[str(each["id"]), when(each["at"]), each["node"], each["cause"]] for each in found]
    table("Attestation results", ("id", "issued", "node", "cause"), rows)


@result.command("subscribers")
@target_options
@json_option
def subscribers(as_json: bool, **options: Any) -> None:
    """Subscribers: waiting, sent, failed, given up, and whether one is stuck."""
    emit(connect(options).get("/v1/result-subscribers"), as_json, _print_subscribers)


def _print_subscribers(found: list[dict[str, Any]]) -> None:
    counts = ("waiting", "sent", "failed", "dropped")
    rows = [
        [each["name"], *(str(each[name]) for name in counts), "yes" if each["stuck"] else "", each["last_error"] or ""]
        for each in found
    ]
    table("Subscribers", ("name", *counts, "stuck", "last trouble"), rows)


@result.command("test")
@click.argument("name")
@target_options
@json_option
def test(name: str, as_json: bool, **options: Any) -> None:
    """Send the subscriber NAME a message without a result, and tell whether it took it."""
    done = connect(options).post("/v1/result-subscribers/test", {"name": name})
    if not done["ok"]:
        raise CommandFailed(f"{name} did not take it: {done['error']}", "Mend the subscriber or its settings.")
    emit(done, as_json, lambda value: click.echo(f"{name} took it in {value['seconds']} s"))
