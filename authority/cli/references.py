"""`keyvigil-authority reference …`: machine states and agent measurements, reviewed and rolled out."""

from __future__ import annotations

from typing import Any

import click

from authority.cli.client import connect, segment, target_options
from authority.cli.output import emit, json_option, pairs, table, when

_STATES = ("learned", "candidate", "accepted", "rejected", "withdrawn", "awaited")
_value_id = click.argument("value_id", metavar="ID", type=click.IntRange(min=1))


@click.group()
def reference() -> None:
    """Reference values: what machines and their agents may be."""


@reference.command("list")
@click.option("--node", help="Of this node only.")
@click.option("--only", type=click.Choice(_STATES), help="Values in this state only.")
@target_options
@json_option
def list_values(node: str | None, only: str | None, as_json: bool, **options: Any) -> None:
    """Values in force, candidates, and what became of others."""
    asked = {name: value for name, value in (("node", node), ("state", only)) if value is not None}
    emit(connect(options).get_all("/v1/references", **asked), as_json, _print_values)


def _print_values(values: list[dict[str, Any]]) -> None:
    headings = ("id", "node", "kind", "state", "first seen", "last seen", "decided by", "from")
    table("Reference values", headings, [_row(value) for value in values])


def _row(value: dict[str, Any]) -> tuple[object, ...]:
    seen = when(value["first_seen_at"]), when(value["last_seen_at"])
    return value["id"], value["node"], value["kind"], value["state"], *seen, value["decided_by"], value["origin"]


@reference.command("show")
@_value_id
@target_options
@json_option
def show(value_id: int, as_json: bool, **options: Any) -> None:
    """One value: what differs from what held before, down to the logged events where the logs are known."""
    emit(connect(options).get(f"/v1/references/{value_id}"), as_json, _print_value)


def _print_value(value: dict[str, Any]) -> None:
    pairs(f"Reference value {value['id']}", {name: value[name] for name in ("node", "kind", "state", "decided_by")})
    table("Changes", ("what", "before", "now"), [[name, *pair] for name, pair in value["changes"].items()])
    events = value["events"]
    if events is None:
        click.echo("no event log is known to compare")
        return
    rows = [[word, *event] for word in ("gone", "new") for event in events[word]]
    table("Events", ("", "PCR", "type", "digest", "text"), rows)


def _decision(verb: str, help_text: str, done: str) -> None:
    @reference.command(verb, help=help_text)
    @_value_id
    @target_options
    @json_option
    def decide(value_id: int, as_json: bool, **options: Any) -> None:
        answer = connect(options).post(f"/v1/references/{value_id}/{verb}")
        emit(answer, as_json, lambda value: click.echo(done.format(nodes=value.get("nodes"))))


_decision("accept", "Let the node show this value; its next attestation heals it.", "accepted")
_decision("reject", "Close a candidate, or stop accepting a value.", "rejected")
_decision("rollback", "Withdraw a value wherever it was rolled out to.", "withdrawn at {nodes} nodes")


@reference.command("stage")
@_value_id
@click.option("--node", "nodes", multiple=True, required=True, help="Roll out to this node; may be repeated.")
@target_options
@json_option
def stage(value_id: int, nodes: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Accept a value that has held at its node, the canary, at others too, before they show it."""
    done = connect(options).post(f"/v1/references/{value_id}/stage", {"nodes": [*nodes]})
    emit(done, as_json, lambda value: click.echo(f"staged for {value['nodes']} nodes"))


@reference.command("learn")
@click.option("--node", "name", required=True, help="Of which node.")
@click.option("--kind", type=click.Choice(("pcrs", "agent")), default="pcrs", show_default=True)
@target_options
@json_option
def learn(name: str, kind: str, as_json: bool, **options: Any) -> None:
    """Trust the next value that a sound quote of the node shows; what was accepted before is forgotten."""
    done = connect(options).post(f"/v1/nodes/{segment(name)}/learn", {"kind": kind})
    emit(done, as_json, lambda _: click.echo(f"{name}: the next sound quote is the reference"))
