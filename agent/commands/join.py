"""`keyvigil join`: register this node at its authority."""

from __future__ import annotations

from pathlib import Path

import click

from agent.commands._common import config_option, configured, json_option, parsed, print_json, read_secret
from agent.node import Node
from protocol.tokens import parse_join_token


@click.command()
@config_option
@click.option("--token-file", required=True, help="File with the join token, or - for standard input.")
@click.option("--rejoin", is_flag=True, help="Replace the identity that this node has.")
@json_option
def join(config_path: Path, token_file: str, rejoin: bool, as_json: bool) -> None:
    """Register this node at the authority and store its identity."""
    config = configured(config_path)
    token = parsed(read_secret(token_file, "join token"), parse_join_token)
    node = Node.of(config)
    # A daemon that kept the old identity in memory would write it back when it renews.
    with node.state.daemon_lock():
        identity = node.joining().join(token, again=rejoin)
    certificate = node.store.certificate(identity)
    if as_json:
        print_json({"node_id": identity.node_id, "name": identity.name, "not_after": certificate.not_after})
        return
    click.echo(f"{identity.name} has joined {identity.authority} as node {identity.node_id}.")
    click.echo("Next: `keyvigil enroll` for each administrator, then `keyvigil agent run`.")
