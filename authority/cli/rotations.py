"""`keyvigil-authority rotation …`."""

from __future__ import annotations

import time
from typing import Any

import click

from authority.cli.client import connect, segment, target_options
from authority.cli.output import emit, json_option, table, until, when

WATCH_S = 1.0
_node_option = click.option("--node", help="Only the keys that this node sends under.")


@click.group()
def rotation() -> None:
    """Rotation of the keys in use: how it stands, and orders."""


@rotation.command("show")
@click.argument("network", required=False)
@click.option("--watch", is_flag=True, help="Show it again every second, until interrupted.")
@target_options
@json_option
def show(network: str | None, watch: bool, as_json: bool, **options: Any) -> None:
    """Pairs by phase, who is waited for, pairs given up, and when the next rotation is due."""
    api = connect(options)
    emit(api.get_all("/v1/rotations", network=network), as_json, _print)
    while watch:
        time.sleep(WATCH_S)
        found = api.get_all("/v1/rotations", network=network)
        if not as_json:
            click.clear()
        emit(found, as_json, _print)


@rotation.command("start")
@click.argument("network")
@_node_option
@target_options
@json_option
def start(network: str, node: str | None, as_json: bool, **options: Any) -> None:
    """Rotate now, without losing a packet: old keys go when the new ones are in use."""
    done = connect(options).post(f"/v1/networks/{segment(network)}/rotation/start", {"node": node})
    emit(done, as_json, lambda _: click.echo(f"{network}: rotating"))


@rotation.command("emergency")
@click.argument("network")
@click.option("--reason", required=True, help="Why; it goes into the audit log and an alert.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_node_option
@target_options
@json_option
def emergency(network: str, reason: str, yes: bool, node: str | None, as_json: bool, **options: Any) -> None:
    """Replace the keys at once: traffic stops until both ends of a pair have the new one."""
    if not yes:
        click.confirm(f"Replace the keys of {node or 'every member'} in {network} at once?", abort=True, err=True)
    body = {"node": node, "reason": reason}
    done = connect(options).post(f"/v1/networks/{segment(network)}/rotation/emergency", body)
    emit(done, as_json, lambda _: click.echo(f"{network}: replaced"))


def _print(found: list[dict[str, Any]]) -> None:
    now = time.time()
    for each in found:
        phases = each["pairs"]
        took = "-" if each["last_took_s"] is None else f"{each['last_took_s']:.1f} s"
        times = [when(each["began_at"]), took, until(each["next_due"], now)]
        table(each["network"], (*phases, "began", "took", "next"), [[*phases.values(), *times]])
        if each["waiting"]:
            columns = ("source", "destination", "phase", "waits_for")
            table("Waiting", columns, [[pair[key] for key in columns] for pair in each["waiting"]])
        if each["stragglers"]:
            rows = [(one["node"], one["pairs"], when(one["since"])) for one in each["stragglers"]]
            table("Given up", ("node", "pairs", "since"), rows)
