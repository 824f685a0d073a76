"""`keyvigil-authority audit open`: an opening against the commitment in the audit log, checked here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from authority.cli.audit_log import proven
from authority.cli.client import connect, target_options
from authority.cli.output import CommandFailed, emit, json_option
from protocol.codec import ProtocolViolation, b64url, decode
from protocol.openings import EVIDENCE, LARGEST_OPENING, Opening, opened_root

_REMEDY = "Keep the file and this output: the file, or what the node signed, is not what was measured."
_UNREADABLE = "Name a file that `keyvigil audit open` wrote."
_NODE, _KIND, _DATA = 5, 3, 6
_PARTS = 7


@click.command("open")
@click.option(
    "--opening",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="What `keyvigil audit open` wrote at the node.",
)
@target_options
@json_option
def open_commitment(file: Path, as_json: bool, **options: Any) -> None:
    """Whether the features in an opening are those that the audited evidence committed to; exit status 1 if not."""
    opening = _read(file)
    try:
        root = opened_root(opening)
    except ProtocolViolation as error:
        raise CommandFailed(f"the opening does not hold: {error}", _REMEDY) from None
    client = connect(options)
    found = client.get(f"/v1/challenges/{opening.challenge_id}/evidence")
    if not proven(client, found, found["seq"]):
        raise CommandFailed(f"the checkpoint does not cover record {found['seq']}", _REMEDY)
    problem = _difference(opening, root, bytes.fromhex(found["record"]))
    if problem:
        raise CommandFailed(f"the opening does not hold: {problem}", _REMEDY)
    shown = {"holds": True, "seq": found["seq"], "challenge": opening.challenge_id, "node_id": opening.node_id}
    shown |= {"record": opening.record_id, "modality": opening.model.modality, "model": opening.model.model}
    emit(shown | {"commitment": root.hex(), "consent": opening.consent_version}, as_json, _print)


def _print(value: dict[str, Any]) -> None:
    click.echo(
        f"the opening holds: {value['modality']} ({value['model']}) of challenge {value['challenge']}, "
        f"commitment {value['commitment']} in record {value['seq']}"
    )


def _read(file: Path) -> Opening:
    try:
        with file.open("rb") as stream:
            return decode(stream.read(LARGEST_OPENING + 1), Opening)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}", _UNREADABLE) from None
    except ProtocolViolation:
        raise CommandFailed(f"{file} is no opening", _UNREADABLE) from None


def _difference(opening: Opening, root: bytes, record: bytes) -> str:
    """In what the audit record is not of this opening; empty when they agree."""
    parts = _split(record)
    if len(parts) != _PARTS or parts[_KIND] != EVIDENCE.encode():
        return "the record is not of evidence"
    said = json.loads(parts[_DATA])
    if parts[_NODE] != b"\x01" + opening.node_id.encode():
        return "the evidence is another node's"
    wanted = {
        "challenge": opening.challenge_id,
        "record": opening.record_id,
        "nonce": b64url(opening.nonce),
        "commitment": root.hex(),
    }
    return next((f"the evidence has another {name}" for name, value in wanted.items() if said.get(name) != value), "")


def _split(record: bytes) -> list[bytes]:
    """Inverse of `length_prefixed` over what `authority.audit` hashes."""
    parts: list[bytes] = []
    while record:
        length = int.from_bytes(record[:4], "big")
        parts.append(record[4 : 4 + length])
        record = record[4 + length :]
    return parts
