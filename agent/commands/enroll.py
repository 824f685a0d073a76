"""`keyvigil enroll`: guide an administrator through consent and captures."""

from __future__ import annotations

import dataclasses
import getpass
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from agent.capturing import Booth
from agent.commands._common import (
    config_option,
    configured,
    json_option,
    parsed,
    print_json,
    read_secret,
    require_attended,
    unattended_option,
)
from agent.enrolling import Consent, Enrolment, Guide, consent_to
from agent.errors import ConfigError
from agent.log import printable
from agent.modalities import load_pipelines
from agent.node import Node
from agent.prompting import PromptChain, Prompter, TerminalPrompter, build_prompter
from hal import Deadline
from protocol.messages import EnrolResult, EnrolSession
from protocol.names import check_name
from protocol.tokens import parse_ticket

SENSOR_WAIT_S = 60.0


@click.command()
@config_option
@click.option("--admin", required=True, help="Name of the administrator, as the operator registered it.")
@click.option("--ticket-file", required=True, help="File with the enrolment ticket, or - for standard input.")
@click.option("--pin-file", help="File with the PIN; without it the PIN is asked for.")
@click.option("--accept-consent", is_flag=True, help="The consent text was agreed to on paper or elsewhere.")
@unattended_option
@json_option
def enroll(
    config_path: Path,
    admin: str,
    ticket_file: str,
    pin_file: str | None,
    accept_consent: bool,
    unattended: bool,
    as_json: bool,
) -> None:
    """Enrol an administrator at this node's sensors."""
    request = Request(admin, ticket_file, pin_file, accept_consent, unattended)
    report(enrol(Node.of(configured(config_path)), request), request, as_json=as_json)


@dataclass(frozen=True)
class Request:
    """What the command line says of an enrolment; `replaces` is the record that it renews."""

    admin: str
    ticket_file: str
    pin_file: str | None
    accept_consent: bool
    unattended: bool
    replaces: str | None = None


@dataclass(frozen=True)
class Enrolled:
    """What an enrolment gave."""

    result: EnrolResult
    modalities: list[str]


def enrol(node: Node, request: Request) -> Enrolled:
    """Lead the person through consent and captures, and register the profile."""
    config, admin = node.config, request.admin
    parsed(admin, lambda name: check_name("administrator", name))
    ticket = parsed(read_secret(request.ticket_file, "ticket"), parse_ticket).format()
    console = Console(stderr=True)
    require_attended(config, Deadline.after(SENSOR_WAIT_S, node.clock), unattended=request.unattended)
    with node.link_scope() as link, node.state.sensor_lock(Deadline.after(SENSOR_WAIT_S, node.clock)):
        pipelines = load_pipelines(node.modalities)
        pin = read_secret(request.pin_file, "PIN") if request.pin_file else _ask_pin()
        enrolment = Enrolment(
            link.identity,
            link.client,
            node.vault,
            node.gate,
            pipelines,
            config.presentation,
            time.time,
            node.clock.sleep,
            check_room=config.enrolment.check_room,
        )
        session = enrolment.start(admin, ticket, pin, request.replaces)
        chosen = enrolment.choose(session, node.devices.modalities)
        consent = _consent(session, console, accepted=request.accept_consent)
        prompter = _prompter(node, console)
        booth = Booth(config.node.name, admin, "enrolment", node.devices, node.modalities, prompter, node.clock)
        guide = Guide(booth, pipelines, config.enrolment)
        return Enrolled(enrolment.finish(session, admin, guide, chosen, consent), chosen)


def report(enrolled: Enrolled, request: Request, *, as_json: bool) -> None:
    """Say what came of it."""
    result, admin = enrolled.result, request.admin
    if as_json:
        facts = {
            "record_id": result.record_id,
            "state": result.state,
            "admin": admin,
            "modalities": enrolled.modalities,
        }
        print_json(facts | ({} if request.replaces is None else {"replaces": request.replaces}))
        return
    click.echo(f"{admin} is enrolled with {', '.join(enrolled.modalities)}; the profile is {printable(result.state)}.")
    click.echo("An operator approves it with `keyvigil-authority admin approve`.")
    if request.replaces is not None:
        click.echo(f"From then on {request.replaces} is revoked, and removed from this node.")


def _ask_pin() -> str:
    """The PIN from the terminal, without echo."""
    try:
        pin = getpass.getpass("PIN: ")
    except (EOFError, OSError):
        raise ConfigError("there is no terminal to ask for the PIN", remedy="Pass it with --pin-file.") from None
    if not pin.strip():
        raise ConfigError("no PIN was entered")
    return pin.strip()


def _consent(session: EnrolSession, console: Console, *, accepted: bool) -> Consent:
    """Show the text and wait for agreement; raises `ConfigError` without it."""
    consent = consent_to(session, time.time())
    for line in session.consent_text.splitlines():
        console.print(printable(line, limit=len(line)), markup=False, highlight=False)
    if not accepted:
        if not sys.stdin.isatty():
            raise ConfigError("nobody can consent without a terminal", remedy="Pass --accept-consent.")
        console.print("Type yes to consent: ", end="")
        if sys.stdin.readline().strip().lower() != "yes":
            raise ConfigError("consent was not given; nothing was captured", remedy="Nothing needs to be done.")
    return dataclasses.replace(consent, at=time.time())


def _prompter(node: Node, console: Console) -> Prompter:
    """The configured hook if there is one, and the person's own screen whether or not input is a terminal."""
    chain = build_prompter(node.config.prompt, node.abort, console=console)
    screen = TerminalPrompter(console, sys.stdin, node.abort, time.time)
    hooks = [prompter for prompter in chain.prompters if not isinstance(prompter, TerminalPrompter)]
    return PromptChain([*hooks, screen])
