"""`keyvigil profile`: what is sealed at this node; erasing and renewing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from agent.capturing import Booth
from agent.commands._common import config_option, configured, json_option, print_json, unattended_option
from agent.commands.enroll import SENSOR_WAIT_S, Request, enrol, report
from agent.erasing import Eraser
from agent.errors import AgentError, AuthorityUnreachable, ConfigError, ProfileError
from agent.link import Link
from agent.log import printable
from agent.node import Node
from agent.owning import Owning
from agent.profile import Permit, RecordHeader
from agent.prompting import build_prompter
from hal import Deadline, Grant, OwnerCommand


@click.group()
def profile() -> None:
    """Sealed profiles: list, erase, renew."""


@profile.command("list")
@config_option
@json_option
def list_profiles(config_path: Path, as_json: bool) -> None:
    """Profiles of this node, those that are not readable included."""
    node = Node.of(configured(config_path))
    found = [_facts(record_id, one) for record_id, one in node.vault.listing()]
    if as_json:
        print_json({"profiles": found})
        return
    for facts in found:
        told = facts.get("error") or f"{facts['admin']}: {', '.join(facts['modalities'])}, bound: {_bound(facts)}"
        click.echo(f"{facts['record_id']}  {printable(told)}")


@profile.command()
@click.argument("record")
@config_option
@json_option
def erase(record: str, config_path: Path, as_json: bool) -> None:
    """Erase a profile here and at the authority; run it again when the authority was not reached."""
    node = Node.of(configured(config_path))
    with node.link_scope() as link, node.state.sensor_lock(Deadline.after(SENSOR_WAIT_S, node.clock)):
        prompter = build_prompter(node.config.prompt, node.abort, console=Console(stderr=True))
        booth = Booth(node.config.node.name, "", "enrolment", node.devices, node.modalities, prompter, node.clock)
        left = Eraser(node.vault, node.gate, booth, node.openings, _permit(node, link)).erase(record)
        try:
            link.client.erased(record)
        except AuthorityUnreachable as error:
            raise AgentError(
                f"the profile is erased here, and the authority does not know: {error}",
                remedy="Run the command again when the authority is reachable, or have an operator erase it there.",
            ) from None
    if as_json:
        print_json({"record_id": record, "erased": True, "left": left})
        return
    click.echo(f"{record} is erased, here and at the authority.")
    for line in left:
        click.echo(f"warning: {printable(line)}", err=True)


@profile.command()
@click.argument("record")
@config_option
@click.option("--ticket-file", required=True, help="File with the enrolment ticket, or - for standard input.")
@click.option("--pin-file", help="File with the PIN; without it the PIN is asked for.")
@click.option("--accept-consent", is_flag=True, help="The consent text was agreed to on paper or elsewhere.")
@unattended_option
@json_option
def renew(
    record: str,
    config_path: Path,
    ticket_file: str,
    pin_file: str | None,
    accept_consent: bool,
    unattended: bool,
    as_json: bool,
) -> None:
    """Make a profile anew, with new salts, secrets and key; the old one answers until the new one is approved."""
    node = Node.of(configured(config_path))
    admin = _owner(node, record)
    request = Request(admin, ticket_file, pin_file, accept_consent, unattended, replaces=record)
    report(enrol(node, request), request, as_json=as_json)


def _permit(node: Node, link: Link) -> Permit:
    """The leave to remove the guard, which the authority gives of a profile that it knows to be erased."""

    def permit(record_id: str, command: OwnerCommand) -> Grant:
        link.client.erased(record_id)
        return Owning(link.identity, link.client, node.gate).permit_removal(record_id, command)

    return permit


def _owner(node: Node, record: str) -> str:
    """Whose a record is."""
    found = dict(node.vault.listing()).get(record)
    if isinstance(found, RecordHeader):
        return found.admin
    if found is not None:
        raise found
    raise ConfigError(f"there is no profile {printable(record)} at this node", remedy="Run `keyvigil profile list`.")


def _facts(record_id: str, found: RecordHeader | ProfileError) -> dict[str, Any]:
    if isinstance(found, ProfileError):
        return {"record_id": record_id, "error": str(found), "remedy": found.remedy}
    return {
        "record_id": record_id,
        "admin": found.admin,
        "modalities": [model.modality for model in found.modalities],
        "bound": sorted(found.codes),
        "guarded": found.key.guard is not None,
        "share": found.share,
        "created_at": found.created_at,
    }


def _bound(facts: dict[str, Any]) -> str:
    return ", ".join(facts["bound"])
