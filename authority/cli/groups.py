"""`keyvigil-authority group …`."""

from __future__ import annotations

from typing import Any

import click

from authority.cli.client import connect, segment, target_options
from authority.cli.output import emit, json_option, table


@click.group()
def group() -> None:
    """Challenge groups: nodes without sensors share the presentations at one that has some."""


@group.command("create")
@click.argument("name")
@click.option("--sensor-node", required=True, help="Node at which people present themselves.")
@target_options
@json_option
def create(name: str, sensor_node: str, as_json: bool, **options: Any) -> None:
    """Create a group."""
    done = connect(options).post("/v1/groups", {"name": name, "sensor_node": sensor_node})
    emit(done, as_json, lambda _: click.echo(f"group {name} created"))


def _membership(verb: str, help_text: str) -> None:
    @group.command(verb, help=help_text)
    @click.argument("name")
    @click.option("--node", required=True, help="Member.")
    @target_options
    @json_option
    def act(name: str, node: str, as_json: bool, **options: Any) -> None:
        done = connect(options).post(f"/v1/groups/{segment(name)}/{verb}", {"node": node})
        emit(done, as_json, lambda _: click.echo(f"{node}: {verb} done"))


_membership("add", "Let a node share the group's presentations.")
_membership("remove", "Take a node out of the group.")


@group.command("list")
@target_options
@json_option
def list_groups(as_json: bool, **options: Any) -> None:
    """Every group with its members."""
    emit(connect(options).get_all("/v1/groups"), as_json, _print)


def _print(found: list[dict[str, Any]]) -> None:
    rows = [(each["name"], each["sensor_node"], ", ".join(each["members"])) for each in found]
    table("Groups", ("group", "sensor node", "members"), rows)
