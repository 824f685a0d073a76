"""`keyvigil-authority mapping …`: who is at which address, and where each node is reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from authority.cli.client import connect, segment, target_options
from authority.cli.output import CommandFailed, emit, json_option, table

_HEADINGS = ("network", "address", "node", "resource_class", "endpoint", "set by", "wireguard_port", "state")


@click.group()
def mapping() -> None:
    """The mapping service: virtual addresses to nodes."""


@mapping.command("list")
@click.option("--network", help="Only this network.")
@target_options
@json_option
def list_mapping(network: str | None, as_json: bool, **options: Any) -> None:
    """Every virtual address with its node."""
    emit(connect(options).get_all("/v1/mapping", network=network), as_json, _print)


@mapping.command("lookup")
@click.argument("network")
@click.argument("address")
@target_options
@json_option
def lookup(network: str, address: str, as_json: bool, **options: Any) -> None:
    """Who is at an address of a network."""
    found = connect(options).get_all("/v1/mapping", network=network, address=address)
    if not found:
        raise CommandFailed(f"nobody is at {address} in {network}", "See `mapping list`.")
    emit(found[0], as_json, lambda entry: _print([entry]))


def _print(rows: list[dict[str, Any]]) -> None:
    lines = []
    for row in rows:
        by = "operator" if row["endpoint_pinned"] else "node" if row["endpoint"] else ""
        lines.append([by if name == "set by" else row[name] for name in _HEADINGS])
    table("Mapping", _HEADINGS, lines)


@mapping.command("set")
@click.argument("node")
@click.option("--endpoint", help="The address that packets to the node go to; `none` leaves it to the node.")
@click.option("--network", help="The network in which the address or class changes.")
@click.option("--address", help="The node's new address in that network.")
@click.option(
    "--class", "resource_class", type=click.Choice(["critical", "normal", "remediation"]), help="Its new class there."
)
@target_options
@json_option
def set_place(node: str, as_json: bool, **options: Any) -> None:
    """Say where a node is reached, or change its place in a network."""
    endpoint, network = options.pop("endpoint"), options.pop("network")
    place = {name: value for name in ("address", "resource_class") if (value := options.pop(name)) is not None}
    if (network is None) != (not place):
        raise CommandFailed("a place in a network is --network with --address or --class", "Name both.")
    if endpoint is None and network is None:
        raise CommandFailed("nothing to set", "Name --endpoint, or --network with --address or --class.")
    client = connect(options)
    if network is not None:
        client.post(f"/v1/networks/{segment(network)}/members/{segment(node)}", place)
    if endpoint is not None:
        body = {"endpoint": None if endpoint == "none" else endpoint}
        client.post(f"/v1/mapping/nodes/{segment(node)}", body)
    emit({"ok": True}, as_json, lambda _: click.echo(f"{node}: set"))


@mapping.command("export")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Where to write it; else it is printed.")
@target_options
@json_option
def export(file: Path | None, as_json: bool, **options: Any) -> None:
    """The mapping as JSON, for `mapping import`."""
    document = connect(options).get("/v1/mapping/export")
    if file is None:
        click.echo(json.dumps(document, indent=2))
        return
    try:
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"cannot write {file}: {error.strerror}", "Choose another --file.") from None
    emit({"file": str(file)}, as_json, lambda _: click.echo(f"The mapping is in {file}."))


@mapping.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@target_options
@json_option
def import_file(file: Path, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Bring the mapping to what a file says: all of it, or nothing where anything is wrong."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandFailed(f"cannot read {file}: {error.strerror}", "Name a file of `mapping export`.") from None
    except (ValueError, RecursionError):
        raise CommandFailed(f"{file} is no JSON", "Name a file of `mapping export`.") from None
    if not isinstance(document, dict):
        raise CommandFailed(f"{file} holds no mapping", "Name a file of `mapping export`.")
    done = connect(options).post("/v1/mapping/import", {"mapping": document, "dry_run": dry_run})
    emit(done, as_json, _print_changes)


def _print_changes(done: dict[str, Any]) -> None:
    rows = [[each["kind"], each["network"], each["node"], each["was"], each["becomes"]] for each in done["changes"]]
    table("Would change" if done["dry_run"] else "Changed", ("what", "network", "node", "was", "becomes"), rows)
