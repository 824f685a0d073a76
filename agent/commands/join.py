"""`keyvigil join`: register this node at its authority."""

from __future__ import annotations

from pathlib import Path

import click

from agent.commands._common import config_option, configured, json_option, parsed, print_json, read_secret
from agent.errors import AuthorityUnreachable
from agent.node import Node
from agent.owning import WARNINGS, Owning
from protocol.levels import Ownership
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
        owner = _give_up_tpm(node)
    certificate = node.store.certificate(identity)
    if as_json:
        facts = {"node_id": identity.node_id, "name": identity.name, "not_after": certificate.not_after}
        print_json(facts | {"tpm_owner": owner.value})
        return
    click.echo(f"{identity.name} has joined {identity.authority} as node {identity.node_id}.")
    if owner is Ownership.TAKEN:
        click.echo("The authority holds the owner's and the lockout's authorisation of the TPM.")
    click.echo("Next: `keyvigil enroll` for each administrator, then `keyvigil agent run`.")


def _give_up_tpm(node: Node) -> Ownership:
    """Have the authority own the TPM; what stays undone when it is not reached, the agent does when it starts."""
    with node.link_scope() as link:
        try:
            owner = Owning(link.identity, link.client, node.gate, node.measurer()).settle()
        except AuthorityUnreachable as error:
            click.echo(f"warning: the TPM has no owner yet: {error}. `keyvigil agent run` goes on with it.", err=True)
            return Ownership.NONE
    if owner in WARNINGS:
        click.echo(f"warning: {WARNINGS[owner]}", err=True)
    return owner
