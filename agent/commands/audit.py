"""`keyvigil audit`: openings of what evidence committed to, where policy and consent let this node keep any."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from agent.commands._common import (
    config_option,
    configured,
    json_option,
    print_json,
    require_attended,
    unattended_option,
)
from agent.durable import PRIVATE_FILE
from agent.errors import AgentError, ConfigError, OpeningUnavailable, ProfileError, StateError
from agent.log import event, printable
from agent.node import Node
from hal import Deadline
from protocol.codec import encode
from protocol.openings import Opening

PERSON_WAIT_S = 60.0
NOTICE = (
    "This writes what was measured of {admin} ({modality}) to a file that is not encrypted. Whoever has it can tell "
    "that person from others, and knows more of them than any password. Give it to nobody but the auditor whom "
    "{admin} agreed to, and delete it when it has served."
)


@click.group()
def audit() -> None:
    """Openings of commitments: list those that are kept, export one for an auditor."""


@audit.command("list")
@config_option
@json_option
def list_openings(config_path: Path, as_json: bool) -> None:
    """Challenges whose openings are kept, and until when."""
    node = Node.of(configured(config_path))
    node.openings.sweep()
    kept = node.openings.kept()
    if as_json:
        fields = ("challenge_id", "record_id", "made_at", "until")
        print_json({"openings": [{name: getattr(one, name) for name in fields} for one in kept]})
        return
    for one in kept:
        click.echo(f"{one.challenge_id}  {one.record_id}  made {_day(one.made_at)}  until {_day(one.until)}")


@audit.command("open")
@click.argument("challenge")
@click.option("--modality", required=True, help="Which of the presentation's modalities to open.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new file, mode 0600.")
@click.option("--i-have-consent", "consent", is_flag=True, help="The administrator agreed: do not ask.")
@unattended_option
@config_option
@json_option
def open_opening(
    challenge: str, modality: str, out: Path, consent: bool, unattended: bool, config_path: Path, as_json: bool
) -> None:
    """Export one opening of CHALLENGE, for `keyvigil-authority audit open`; the administrator has to agree."""
    node = Node.of(configured(config_path))
    _check_target(out, node)
    node.openings.sweep()
    record = next((one.record_id for one in node.openings.kept() if one.challenge_id == challenge), None)
    if record is None:
        raise OpeningUnavailable(f"this node keeps no opening of challenge {printable(challenge)}, or no longer")
    require_attended(node.config, Deadline.after(PERSON_WAIT_S, node.clock), unattended=unattended)
    admin = _admin(node, record)
    _agree(admin, modality, consent=consent)
    found = node.gate.run(lambda enclave: node.openings.open(enclave, challenge))
    opening = _chosen(found, modality)
    _store(out, encode(opening))
    event(logging.WARNING, "an opening was exported", challenge=challenge, modality=modality, admin=admin)
    if as_json:
        print_json({"file": str(out), "challenge_id": challenge, "modality": modality, "admin": admin})
    else:
        click.echo(f"{printable(out)}  (mode 0600; delete it when it has served)")


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _admin(node: Node, record: str) -> str:
    """Whose profile it was; raises `OpeningUnavailable` without one, for then nobody can agree."""
    try:
        return node.vault.header(record).admin
    except ProfileError:
        raise OpeningUnavailable(
            "the profile behind the opening is not there, so that nobody can agree to it"
        ) from None


def _agree(admin: str, modality: str, *, consent: bool) -> None:
    """The administrator types their name, unless `consent` says that they agreed; raises `AgentError` otherwise."""
    click.echo(NOTICE.format(admin=printable(admin), modality=printable(modality)), err=True)
    if consent:
        return
    if not sys.stdin.isatty():
        raise AgentError("nobody agreed to open this", remedy="Ask the administrator, then pass --i-have-consent.")
    click.echo(f"If you are {printable(admin)} and agree, type your name: ", nl=False, err=True)
    if sys.stdin.readline().strip() != admin:
        raise AgentError("the administrator did not agree; nothing was opened", remedy="Nothing is to be done.")


def _chosen(found: list[Opening], modality: str) -> Opening:
    for opening in found:
        if opening.model.modality == modality:
            return opening
    names = ", ".join(one.model.modality for one in found)
    raise ConfigError(f"that presentation has no {printable(modality)}", remedy=f"It has {names}.")


def _check_target(out: Path, node: Node) -> None:
    """Raise `ConfigError` unless a new file can be made outside the state directory."""
    if os.path.lexists(out):
        raise ConfigError(f"{out} is there already", remedy="Name a file that does not exist.")
    parent = out.absolute().parent.resolve()
    if not parent.is_dir():
        raise ConfigError(f"{parent} is no folder", remedy="Make the folder first.")
    if parent.is_relative_to(node.config.state_dir.resolve()):
        raise ConfigError(
            f"{out} lies in the state directory, where nothing raw is ever stored",
            remedy="Name a file elsewhere, and delete it when it has served.",
        )


def _store(out: Path, data: bytes) -> None:
    """A new file of mode 0600; none stays that was not written whole. Raises `StateError`."""
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as error:
        raise StateError(f"{out}: {error.strerror}", remedy="Name a new file in a folder with room.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        out.unlink(missing_ok=True)
        raise StateError(f"{out}: {error.strerror}", remedy="Name a new file in a folder with room.") from None
