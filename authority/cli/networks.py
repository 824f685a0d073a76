"""`keyvigil-authority network …` and `keyvigil-authority key …`."""

from __future__ import annotations

from typing import Any

import click

from authority.cli.client import connect, segment, target_options
from authority.cli.output import CommandFailed, emit, json_option, table, when


@click.group()
def network() -> None:
    """Virtual networks and their members."""


@network.command("create")
@click.argument("name")
@target_options
@json_option
def create(name: str, as_json: bool, **options: Any) -> None:
    """Create a network with a key version for every tier."""
    emit(connect(options).post("/v1/networks", {"name": name}), as_json, lambda _: click.echo(f"{name}: created"))


@network.command("add")
@click.argument("name")
@click.option("--node", required=True, help="The node to add.")
@click.option("--address", required=True, help="Its address in the network.")
@click.option(
    "--class",
    "resource_class",
    type=click.Choice(["critical", "normal", "remediation"]),
    default="normal",
    show_default=True,
    help="What it offers to the others.",
)
@target_options
@json_option
def add(name: str, node: str, address: str, resource_class: str, as_json: bool, **options: Any) -> None:
    """Give a node a place in a network."""
    body = {"node": node, "address": address, "resource_class": resource_class}
    done = connect(options).post(f"/v1/networks/{segment(name)}/members", body)
    emit(done, as_json, lambda _: click.echo(f"{node}: member of {name} at {address}"))


@network.command("remove")
@click.argument("name")
@click.option("--node", required=True, help="The node to take out.")
@target_options
@json_option
def remove(name: str, node: str, as_json: bool, **options: Any) -> None:
    """Take a node out of a network: its peers lose their associations with it."""
    done = connect(options).post(f"/v1/networks/{segment(name)}/members/{segment(node)}/remove")
    emit(done, as_json, lambda _: click.echo(f"{node}: no member of {name} any more"))


@network.command("list")
@target_options
@json_option
def list_networks(as_json: bool, **options: Any) -> None:
    """Networks with members and key versions."""
    emit(connect(options).get_all("/v1/networks"), as_json, _print_networks)


def _print_networks(networks: list[dict[str, Any]]) -> None:
    if not networks:
        click.echo("There is no network yet: make one with `network create`.")
    for entry in networks:
        headings = ("name", "address", "resource_class", "version", "epoch", "rotate_at")
        rows = [[*(each[key] for key in headings[:-1]), when(each["rotate_at"])] for each in entry["members"]]
        table(f"Network {entry['name']}", headings, rows)


@network.command("floor")
@click.argument("name")
@click.option("--version", type=click.IntRange(1), required=True, help="The oldest version that may still be used.")
@target_options
@json_option
def floor(name: str, version: int, as_json: bool, **options: Any) -> None:
    """Destroy every version below this one, and never use one again: they are compromised."""
    done = connect(options).post(f"/v1/networks/{segment(name)}/floor", {"version": version})
    emit(done, as_json, lambda _: click.echo(f"{name}: nothing below version {version} is used any more"))


@click.group()
def key() -> None:
    """Key versions of networks."""


@key.command("list")
@click.option("--network", "wanted", help="Only this network.")
@target_options
@json_option
def list_keys(wanted: str | None, as_json: bool, **options: Any) -> None:
    """Versions with their states; never a key."""
    found = [entry for entry in connect(options).get_all("/v1/networks") if wanted in {None, entry["name"]}]
    if wanted is not None and not found:
        raise CommandFailed(f"no network named {wanted!r}", "List networks with `network list`.")
    emit([{"network": entry["name"], "keys": entry["keys"]} for entry in found], as_json, _print_keys)


def _print_keys(networks: list[dict[str, Any]]) -> None:
    rows = [
        [entry["network"], each["version"], each["state"], when(each["created_at"])]
        for entry in networks
        for each in entry["keys"]
    ]
    table("Key versions", ("network", "version", "state", "created"), rows)


@key.command("rotate")
@click.argument("network_name", metavar="NETWORK")
@target_options
@json_option
def rotate(network_name: str, as_json: bool, **options: Any) -> None:
    """Make a new latest version; the others move down by one."""
    done = connect(options).post(f"/v1/networks/{segment(network_name)}/rotate")
    emit(done, as_json, lambda _: click.echo(f"{network_name}: rotated"))


@key.command("stage")
@click.argument("network_name", metavar="NETWORK")
@target_options
@json_option
def stage(network_name: str, as_json: bool, **options: Any) -> None:
    """Make a version ahead; it takes force with the next `key rotate`."""
    done = connect(options).post(f"/v1/networks/{segment(network_name)}/stage")
    emit(done, as_json, lambda _: click.echo(f"{network_name}: version {done['version']} is staged"))
