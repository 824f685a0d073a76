"""`keyvigil-authority node …`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from authority.cli.client import connect, segment, target_options
from authority.cli.output import emit, json_option, pairs, score, table, until, when
from authority.cli.secret_files import secret_file


@click.group()
def node() -> None:
    """Join tokens, standing, challenges and isolation of nodes."""


@node.command("token")
@click.option("--name", required=True, help="Name that the node will have.")
@click.option("--lab", is_flag=True, help="Accept simulated devices; such a node never reaches a production network.")
@click.option("--lifetime", type=click.IntRange(60, 604800), default=3600, show_default=True, help="Seconds.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the token to this file (0600).")
@target_options
@json_option
def token(name: str, lab: bool, lifetime: int, out: Path | None, as_json: bool, **options: Any) -> None:
    """Make a one-time token with which a node joins."""
    with secret_file(out) as keep:
        made = connect(options).post("/v1/join-tokens", {"name": name, "lab": lab, "lifetime_s": lifetime})
        keep(made["token"])
    if out is not None:
        del made["token"]
        made["file"] = os.fspath(out)
    emit(made, as_json, lambda value: click.echo(value.get("token") or f"token written to {value['file']}"))


@node.command("list")
@target_options
@json_option
def list_nodes(as_json: bool, **options: Any) -> None:
    """Every node with its standing."""
    emit(connect(options).get_all("/v1/nodes"), as_json, _print_nodes)


def _print_nodes(nodes: list[dict[str, Any]]) -> None:
    now = time.time()
    headings = ("node", "enclave", "state", "score", "tier", "key version", "rotation", "access", "next challenge")
    table("Nodes", headings, [_row(entry, now) for entry in nodes])


def _row(entry: dict[str, Any], now: float) -> tuple[object, ...]:
    keys = ", ".join(f"{each['network']} v{each['version']} {each['version_state']}" for each in entry["networks"])
    rotation = f"{entry['rotation']} ({entry['rotation_s']:g} s)"
    due = until(entry["next_challenge_at"], now)
    standing = entry["state"], score(entry["score"]), entry["tier"]
    return entry["name"], enclave(entry), *standing, keys, rotation, entry["access"], due


def enclave(entry: dict[str, Any]) -> str:
    """The kind of a node's enclave, and the score that it can reach where the kind caps it."""
    cap = entry["enclave_cap"]
    return entry["enclave"] if cap >= 1000 else f"{entry['enclave']} (at most {score(cap)})"


@node.command("show")
@click.argument("name")
@target_options
@json_option
def show(name: str, as_json: bool, **options: Any) -> None:
    """One node: standing with its explanation, profiles, devices, last presentations."""
    emit(connect(options).get(f"/v1/nodes/{segment(name)}"), as_json, _print_node)


_OWNERS = {
    "none": "nobody that the authority knows of",
    "drawn": "nobody yet: the node is about to set the authority's values",
    "taken": "the authority",
    "foreign": "somebody else",
    "lost": "nobody any more",
}


def _print_node(entry: dict[str, Any]) -> None:
    shown = ("id", "state", "reason", "lab", "tier", "rotation", "access", "explanation")
    values: dict[str, object] = {key: entry[key] for key in shown}
    values["score"] = score(entry["score"])
    values["enclave"] = enclave(entry)
    values["TPM's owner"] = _OWNERS[entry["ownership"]]
    values["certificate until"] = when(entry["certificate_not_after"])
    values["last seen"] = when(entry["last_seen_at"])
    pairs(entry["name"], values)
    fields = ("admin", "state", "record_id", "approved_by")
    table("Profiles", fields, [[profile[field] for field in fields] for profile in entry["profiles"]])
    past = [[when(each["at"]), each["kind"], each["speed"], each["quality"]] for each in entry["presentations"]]
    table("Last presentations", ("at", "outcome", "speed", "quality"), past)


@node.command("challenge")
@click.argument("name")
@target_options
@json_option
def challenge(name: str, as_json: bool, **options: Any) -> None:
    """Summon somebody to the node now."""
    done = connect(options).post(f"/v1/nodes/{segment(name)}/challenge")
    emit(done, as_json, lambda _: click.echo(f"{name}: challenge sent"))


def _operator_action(verb: str, help_text: str, afterwards: str = "") -> click.Command:
    @node.command(verb, help=f"{help_text}\n{afterwards}")
    @click.argument("name")
    @click.option("--reason", default="", help="Why; it goes into the audit log.")
    @target_options
    @json_option
    def act(name: str, reason: str, as_json: bool, **options: Any) -> None:
        done = connect(options).post(f"/v1/nodes/{segment(name)}/{verb}", {"reason": reason})
        emit(done, as_json, lambda _: click.echo(f"{name}: {verb} done{afterwards}"))

    return act


@node.command("tpm-auth")
@click.argument("name")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write both values to this new file (0600), as JSON in hexadecimal.",
)
@target_options
@json_option
def tpm_auth(name: str, out: Path, as_json: bool, **options: Any) -> None:
    """Hand out the authorisation values of a node's TPM, for maintenance; it is audited and told."""
    with secret_file(out) as keep:
        keep(json.dumps(connect(options).post(f"/v1/nodes/{segment(name)}/tpm-auth")))
    said = f"{name}: the owner's and the lockout's authorisation value of its TPM are in {os.fspath(out)}"
    emit({"name": name, "file": os.fspath(out)}, as_json, lambda _: click.echo(said))


_operator_action("isolate", "Cut the node off from every peer.")
_operator_action("release", "Let an isolated or banned node back in.")
_operator_action("ban", "Cut the node off until an operator releases it.")


_RETIRED = """
The TPM keeps its owner and lockout authorisation. To give it back, clear it in the firmware set-up; or take the values
with `keyvigil-authority node tpm-auth NAME --out FILE`, and set empty ones at the machine with tpm2_changeauth -c owner
and -c lockout."""
_operator_action("retire", "Take the node out of service for good.", _RETIRED)
