"""`keyvigil-authority`: sets the authority up, serves it, and operates it through its open API."""

from __future__ import annotations

import click

import authority.cli.setup as setup_commands
from authority.cli import (
    admins,
    api,
    approvals,
    audit_log,
    backups,
    brake,
    break_glass,
    bulk,
    ca,
    drivers,
    eve,
    fleet_orders,
    groups,
    health,
    keks,
    mapping,
    networks,
    nodes,
    openings,
    persons,
    policy_check,
    quotes,
    records,
    references,
    results,
    rosters,
    rotations,
    signals,
)
from authority.cli.output import run_group

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Trust Authority and Key Orchestration Service."""


for command in (
    setup_commands.init,
    setup_commands.serve,
    nodes.node,
    admins.admin,
    networks.network,
    networks.key,
    rotations.rotation,
    records.alert,
    quotes.quote,
    references.reference,
    drivers.driver,
    results.result,
    brake.brake,
    groups.group,
    keks.kek,
    keks.fence,
    mapping.mapping,
    health.health,
    api.api,
    approvals.approvals,
    backups.backup,
    backups.restore,
    break_glass.break_glass,
    ca.ca,
    fleet_orders.fleet_orders,
):
    cli.add_command(command)
cli.add_command(audit_log.audit)
audit_log.audit.add_command(openings.open_commitment)
cli.add_command(records.policy)
records.policy.add_command(policy_check.check)
cli.add_command(signals.signals)
cli.add_command(signals.token)
for each in (persons.persons, persons.shut_out, persons.readmit):
    signals.token.add_command(each)
signals.signals.add_command(eve.eve)
nodes.node.add_command(signals.hostile)
nodes.node.add_command(signals.absolve)
nodes.node.add_command(bulk.tokens)
nodes.node.add_command(rosters.node_roster)
nodes.node.add_command(rosters.stale)
admins.admin.add_command(bulk.tickets)
admins.admin.add_command(rosters.administrator_roster)


def main() -> None:
    """Entry point: ends the process with 0, 1 (refused or failed) or 2 (wrong usage)."""
    run_group(cli)
