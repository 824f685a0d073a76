"""`keyvigil checkin`: an administrator who is at the machine answers without waiting for the next summons."""

from __future__ import annotations

from pathlib import Path

import click

from agent.commands._common import config_option, configured, json_option, print_json
from agent.errors import StateError
from agent.node import Node


@click.command()
@config_option
@json_option
def checkin(config_path: Path, as_json: bool) -> None:
    """Ask the authority for a summons; the running agent prompts for it as for any other."""
    node = Node.of(configured(config_path))
    if not _running(node):
        raise StateError("no agent is running on this node", remedy="Start it with `keyvigil agent run`.")
    with node.link_scope() as link:
        link.client.check_in()
    if as_json:
        print_json({"asked": True})
    else:
        click.echo("The summons is on its way: follow the prompts of the agent.")


def _running(node: Node) -> bool:
    try:
        with node.state.daemon_lock():
            return False
    except StateError:
        return True
