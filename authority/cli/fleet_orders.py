"""`keyvigil-authority fleet-orders`: how far orders over the whole fleet have come."""

from __future__ import annotations

from typing import Any

import click

from authority.cli.client import connect, target_options
from authority.cli.output import emit, json_option, table, when


@click.command("fleet-orders")
@click.option("--all", "everything", is_flag=True, help="Those that have come to their end too.")
@target_options
@json_option
def fleet_orders(everything: bool, as_json: bool, **options: Any) -> None:
    """Administrators being revoked everywhere, policies being brought to every node: how far each has come."""
    found = connect(options).get_all("/v1/fleet-orders")
    shown = [each for each in found if everything or each["state"] == "under-way"]
    emit(shown, as_json, _print)


def _print(found: list[dict[str, Any]]) -> None:
    if not found:
        click.echo("nothing is under way")
        return
    rows = [
        [each["id"], each["kind"], each["subject"], each["state"], f"{each['done']} of {each['total']}", *_who(each)]
        for each in found
    ]
    table("Orders over the whole fleet", ("order", "kind", "of", "state", "come to", "begun", "by"), rows)


def _who(each: dict[str, Any]) -> tuple[str, str]:
    return when(each["begun_at"]), each["actor"]
