"""`keyvigil-authority reference …`: machine states and agent measurements, reviewed and rolled out."""

from __future__ import annotations

from typing import Any

import click

from authority.cli.client import LONG_S, connect, segment, target_options
from authority.cli.output import CommandFailed, emit, json_option, pairs, table, when

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
@click.option("--node", "nodes", multiple=True, help="Roll out to this node; may be repeated.")
@click.option("--percent", type=click.FloatRange(0, 100, min_open=True), help="Or to this share of the nodes alike.")
@click.option("--network", help="The share is of the nodes of this network.")
@click.option("--group", help="The share is of the nodes of this challenge group.")
@target_options
@json_option
def stage(value_id: int, nodes: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Accept a value that has held at its node, the canary, at others too, before they show it."""
    wave = {name: options.pop(name) for name in ("percent", "network", "group")}
    body = {name: value for name, value in wave.items() if value is not None} | ({"nodes": [*nodes]} if nodes else {})
    if bool(nodes) == any(value is not None for value in wave.values()):
        raise CommandFailed("which nodes?", "Name --node, or a share by --percent, --network or --group.")
    _stage(value_id, body, as_json, options)


@reference.command("promote")
@_value_id
@click.option("--network", help="To the nodes of this network only.")
@click.option("--group", help="To the nodes of this challenge group only.")
@click.option("--held", type=click.FloatRange(0, 100, min_open=True), default=100.0, show_default=True, help="Percent.")
@target_options
@json_option
def promote(value_id: int, held: float, as_json: bool, **options: Any) -> None:
    """Roll a value out to all the rest, if as many of the nodes that accept it have shown it, and none fails."""
    wave = {name: options.pop(name) for name in ("network", "group")}
    body = {name: value for name, value in wave.items() if value is not None}
    _stage(value_id, {**body, "percent": 100, "held_percent": held}, as_json, options)


def _stage(value_id: int, body: dict[str, Any], as_json: bool, options: dict[str, Any]) -> None:
    done = connect(options).post(f"/v1/references/{value_id}/stage", body, LONG_S)
    emit(done, as_json, lambda value: click.echo(f"staged for {value['nodes']} nodes"))


@reference.command("rollout")
@_value_id
@target_options
@json_option
def rollout(value_id: int, as_json: bool, **options: Any) -> None:
    """The nodes that a value was rolled out to: which have shown it since, and which fail."""
    emit(connect(options).get_all(f"/v1/references/{value_id}/rollout"), as_json, _print_rollout)


def _print_rollout(nodes: list[dict[str, Any]]) -> None:
    headings = ("node", "value", "", "here", "node is", "decided", "shown since", "fails")
    table("Roll-out", headings, [_rollout_row(each) for each in nodes])


def _rollout_row(each: dict[str, Any]) -> tuple[object, ...]:
    marks = ("yes" if each["held"] else "no"), ("yes" if each["failing"] else "no")
    what = each["node"], each["value_id"], "canary" if each["canary"] else "", each["state"], each["node_state"]
    return (*what, when(each["decided_at"]), *marks)


@reference.command("learn")
@click.option("--node", "name", required=True, help="Of which node.")
@click.option("--kind", type=click.Choice(("pcrs", "agent")), default="pcrs", show_default=True)
@target_options
@json_option
def learn(name: str, kind: str, as_json: bool, **options: Any) -> None:
    """Trust the next value that a sound quote of the node shows; what was accepted before is forgotten."""
    done = connect(options).post(f"/v1/nodes/{segment(name)}/learn", {"kind": kind})
    emit(done, as_json, lambda _: click.echo(f"{name}: the next sound quote is the reference"))
