"""`keyvigil`: the node's command line.

Exit status 0 is success, 1 a refusal or failure, 2 a usage error, 3 a diagnosis with warnings only.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from agent import __version__
from agent.errors import AgentError
from agent.hardening import harden_process
from agent.log import printable
from agent.threads import leave
from hal import DeviceError
from protocol.codec import ProtocolViolation

INTERRUPTED = 128 + signal.SIGINT

_COMMANDS = {
    "agent": ("agent.commands.run", "The node's daemon."),
    "audit": ("agent.commands.audit", "List and open what evidence committed to, where this node keeps it."),
    "capture": ("agent.commands.capture", "Capture once from a sensor, and show it."),
    "checkin": ("agent.commands.checkin", "Ask the authority for a summons now, and answer it at the sensors."),
    "devices": ("agent.commands.devices", "List drivers, hashes, attached devices, and what is missing."),
    "diag": ("agent.commands.diag", "Test devices, host and authority; make a support archive."),
    "evaluate": ("agent.commands.evaluate", "Measure error rates on a folder of samples."),
    "enroll": ("agent.commands.enroll", "Enrol an administrator at this node's sensors."),
    "profile": ("agent.commands.profile", "List, erase and renew sealed profiles."),
    "join": ("agent.commands.join", "Register this node at its authority."),
    "log": ("agent.commands.log", "Show the authority's audit log as this node knows it."),
    "status": ("agent.commands.status", "Show identity, standing, profiles and keys."),
}


class _Commands(click.Group):
    """Loads a command's module when it is called, because biometrics take a second to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="keyvigil")
def cli() -> None:
    """Keyvigil's node: attest who stands at this machine, and hold the keys that this is worth."""


@dataclass(frozen=True)
class Trouble:
    """An error as the person sees it."""

    error: str
    remedy: str
    status: int

    def show(self, *, as_json: bool) -> None:
        """Print it to standard error."""
        if as_json:
            print(json.dumps({"error": self.error, "remedy": self.remedy}), file=sys.stderr)  # noqa: T201
        else:
            print(f"error: {self.error}\nremedy: {self.remedy}", file=sys.stderr)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; never lets a traceback out."""
    harden_process()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    leave(run(arguments))


def run(arguments: list[str]) -> int:
    """Run one command; its exit status."""
    try:
        result = cli.main(arguments, prog_name="keyvigil", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence: a person never sees a traceback
        trouble = explain(error)
        trouble.show(as_json="--json" in arguments)
        return trouble.status
    return result if isinstance(result, int) else 0


def explain(error: BaseException) -> Trouble:
    """What an error means for the person at the machine."""
    status = error.exit_code if isinstance(error, AgentError) else 2 if isinstance(error, click.ClickException) else 1
    text, remedy = _text(error)
    return Trouble(printable(text), printable(remedy), status)


def _text(error: BaseException) -> tuple[str, str]:
    match error:
        case AgentError() | DeviceError():
            said = str(error), error.remedy
        case click.exceptions.NoArgsIsHelpError():
            said = "no command was given", "Run the command with --help."
        case click.ClickException():
            said = error.format_message(), "Run the command with --help."
        case ProtocolViolation():
            said = str(error), "The authority may be of another version, or something else answers in its place."
        case OSError():
            cause = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
            said = cause, "Check free space, permissions and the path."
        case _:
            said = f"internal error: {type(error).__name__}", "This is a defect of Keyvigil: report it with the log."
    return said


if __name__ == "__main__":
    main()
