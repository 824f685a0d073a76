"""`keyvigil-authority`: sets the authority up, serves it, and operates it through its open API."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

import click

from authority.cli.output import run_group

__all__ = ["cli", "main"]

_COMMANDS: Mapping[str, str] = {
    "admin": "admins:admin",
    "alert": "records:alert",
    "api": "api:api",
    "approvals": "approvals:approvals",
    "audit": "audit_log:audit",
    "backup": "backups:backup",
    "brake": "brake:brake",
    "break-glass": "break_glass:break_glass",
    "ca": "ca:ca",
    "driver": "drivers:driver",
    "fence": "keks:fence",
    "fleet-orders": "fleet_orders:fleet_orders",
    "group": "groups:group",
    "health": "health:health",
    "init": "setup:init",
    "kek": "keks:kek",
    "key": "networks:key",
    "mapping": "mapping:mapping",
    "network": "networks:network",
    "node": "nodes:node",
    "policy": "records:policy",
    "quote": "quotes:quote",
    "reference": "references:reference",
    "restore": "backups:restore",
    "result": "results:result",
    "rotation": "rotations:rotation",
    "serve": "setup:serve",
    "signals": "signals:signals",
    "token": "signals:token",
}
"""Name to module and attribute."""
_MORE: Mapping[str, Sequence[str]] = {
    "admin": ("bulk:tickets", "rosters:administrator_roster"),
    "audit": ("openings:open_commitment",),
    "node": ("signals:hostile", "signals:absolve", "bulk:tokens", "rosters:node_roster", "rosters:stale"),
    "policy": ("policy_check:check",),
    "signals": ("eve:eve",),
    "token": ("persons:persons", "persons:shut_out", "persons:readmit"),
}
"""What groups have besides, from other modules."""


class _Commands(click.Group):
    """Loads a command's module when it is called: the database's alone take half a second to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        command = _loaded(_COMMANDS[cmd_name])
        for place in _MORE.get(cmd_name, ()):
            assert isinstance(command, click.Group)
            command.add_command(_loaded(place))
        return command


def _loaded(place: str) -> click.Command:
    module, name = place.split(":")
    command: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Trust Authority and Key Orchestration Service."""


def main() -> None:
    """Entry point: ends the process with 0, 1 (refused or failed) or 2 (wrong usage)."""
    run_group(cli)
