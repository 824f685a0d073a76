"""`keyvigil-authority audit …`: what can be checked is checked here, by the CA certificate alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from authority.cli.client import OperatorClient, connect, target_options
from authority.cli.output import CommandFailed, emit, json_option, table, when
from protocol.checkpoint import LONGEST_NOTE, Checkpoint, log_key, open_checkpoint, origin_of
from protocol.codec import ProtocolViolation
from protocol.merkle import includes, is_consistent, leaf_hash

_REMEDY = "Keep this output and a copy of the database; compare with the checkpoints of nodes and alert sinks."

_HELD = "Name the file as a node or an alert sink kept it; if it is that, keep it with this output and the database."


@click.group()
def audit() -> None:
    """The audit log."""


@audit.command("list")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only records with a higher number.")
@target_options
@json_option
def list_audit(after: int, as_json: bool, **options: Any) -> None:
    """Audit records, oldest first."""
    emit(connect(options).get("/v1/audit", after=after), as_json, _print_audit)


def _print_audit(records: list[dict[str, Any]]) -> None:
    rows = [[each["seq"], when(each["at"]), each["kind"], each["actor"], json.dumps(each["data"])] for each in records]
    table("Audit log", ("seq", "at", "kind", "actor", "data"), rows)


@audit.command("verify")
@click.option(
    "--checkpoint",
    "held",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A checkpoint that a node (`keyvigil log show`) or an alert sink kept: the log must continue it.",
)
@target_options
@json_option
def verify_audit(held: Path | None, as_json: bool, **options: Any) -> None:
    """Build the log's tree anew; exit status 1 when a record, the tree or a checkpoint does not hold."""
    client = connect(options)
    found = client.get("/v1/audit/verify")
    problem = "" if held is None else _compare(client, _read_note(held))
    found |= {"continues": None if held is None else not problem}
    emit(found, as_json, lambda value: click.echo(f"{value['length']} records; root {value['root']}"))
    if not found["intact"]:
        raise CommandFailed(f"the audit log does not hold at record {found['broken_at']}: {found['reason']}", _REMEDY)
    if problem:
        raise CommandFailed(problem, _REMEDY)


@audit.command("checkpoint")
@target_options
@json_option
def checkpoint_audit(as_json: bool, **options: Any) -> None:
    """A signed checkpoint over the log as it is now, to be kept elsewhere."""
    client = connect(options)
    found = client.get("/v1/audit/checkpoint")
    _opened(client, found, found["note"])
    emit(found, as_json, lambda value: click.echo(value["note"], nl=False))


@audit.command("proof")
@click.argument("seq", type=click.IntRange(min=1))
@target_options
@json_option
def prove_record(seq: int, as_json: bool, **options: Any) -> None:
    """The proof that a signed checkpoint covers record SEQ; exit status 1 when it does not hold."""
    client = connect(options)
    found = client.get(f"/v1/audit/{seq}/proof")
    leaf, holds = leaf_hash(bytes.fromhex(found["record"])), proven(client, found, seq)
    emit({"seq": seq, "holds": holds, "leaf": leaf.hex(), **found}, as_json, _print_proof)
    if not holds:
        raise CommandFailed(f"the checkpoint does not cover record {seq}", _REMEDY)


def proven(client: OperatorClient, found: dict[str, Any], seq: int) -> bool:
    """Whether a record is covered by the signed checkpoint beside it; raises `CommandFailed` for a foreign one."""
    said = _opened(client, found, found["note"])
    leaf, proof = leaf_hash(bytes.fromhex(found["record"])), [bytes.fromhex(each) for each in found["proof"]]
    return includes(leaf, seq - 1, said.size, proof, said.root)


def _print_proof(value: dict[str, Any]) -> None:
    words = "covers" if value["holds"] else "DOES NOT COVER"
    click.echo(f"the checkpoint of {value['size']} records {words} record {value['seq']}\nleaf {value['leaf']}")
    for each in value["proof"]:
        click.echo(f"     {each}")
    click.echo(value["note"], nl=False)


def _compare(client: OperatorClient, note: str) -> str:
    """What is wrong between a checkpoint that was kept elsewhere and the log as it is now; empty if nothing is."""
    newest = client.get("/v1/audit/checkpoint")
    said, kept = _opened(client, newest, newest["note"]), _opened(client, newest, note, _HELD)
    if kept.size > said.size:
        return f"the log has {said.size} records, and had {kept.size} when the checkpoint was given out"
    answer = client.get("/v1/audit/consistency", **{"from": kept.size, "to": said.size})
    proof = [bytes.fromhex(each) for each in answer["proof"]]
    if is_consistent(kept.size, kept.root, said.size, said.root, proof):
        return ""
    return f"the log does not continue the checkpoint of {kept.size} records: it was rewritten"


def _opened(client: OperatorClient, found: dict[str, Any], note: str, remedy: str = _REMEDY) -> Checkpoint:
    try:
        ca = x509.load_pem_x509_certificate(client.ca_file.read_bytes())
        key = log_key(bytes.fromhex(found["certificate"]), ca)
        return open_checkpoint(note, origin_of(ca.public_bytes(Encoding.DER)), key)
    except (OSError, ValueError) as error:
        kind = "is not one of this authority's log" if isinstance(error, ProtocolViolation) else "cannot be checked"
        raise CommandFailed(f"the checkpoint {kind}: {error}", remedy) from None


def _read_note(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(LONGEST_NOTE + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{file} cannot be read: {error}", "Name a file with a checkpoint.") from None
