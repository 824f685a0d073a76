"""`keyvigil-authority admin …`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from authority.cli.client import LONG_S, connect, segment, target_options
from authority.cli.output import CommandFailed, emit, json_option, table, when
from authority.cli.secret_files import secret_file


@click.group()
def admin() -> None:
    """Administrators: tickets to enrol, approval, unlocking, revocation, erasure."""


@admin.command("ticket")
@click.option("--admin", "name", required=True, help="The administrator.")
@click.option("--node", required=True, help="The node to enrol at.")
@click.option("--lifetime", type=click.IntRange(60, 604800), default=3600, show_default=True, help="Seconds.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the ticket to this file (0600).")
@click.option("--pin-out", type=click.Path(path_type=Path, dir_okay=False), help="Write the PIN to this file (0600).")
@target_options
@json_option
def ticket(
    name: str, node: str, lifetime: int, out: Path | None, pin_out: Path | None, as_json: bool, **options: Any
) -> None:
    """Make a one-time ticket and its PIN; hand the two over on different ways."""
    body = {"node": node, "lifetime_s": lifetime}
    with secret_file(out) as keep_ticket, secret_file(pin_out) as keep_pin:
        made = connect(options).post(f"/v1/admins/{segment(name)}/tickets", body)
        keep_ticket(made["ticket"])
        keep_pin(made["pin"])
    for key, file in (("ticket", out), ("pin", pin_out)):
        if file is not None:
            del made[key]
            made[f"{key}_file"] = os.fspath(file)
    emit(made, as_json, _print_ticket)


def _print_ticket(made: dict[str, Any]) -> None:
    for key in ("ticket", "pin"):
        click.echo(f"{key}: {made.get(key) or 'written to ' + made[key + '_file']}")


@admin.command("list")
@click.option(
    "--profile-state", "wanted", type=click.Choice(["pending", "active", "revoked", "erased"]), help="Only these."
)
@target_options
@json_option
def list_profiles(wanted: str | None, as_json: bool, **options: Any) -> None:
    """Enrolled profiles, newest first."""
    emit(connect(options).get_all("/v1/profiles", state=wanted), as_json, _print_profiles)


def _print_profiles(profiles: list[dict[str, Any]]) -> None:
    rows = [
        [each["admin"], each["node"], each["state"], each["record_id"], when(each["created_at"]), each["approved_by"]]
        for each in profiles
    ]
    table("Profiles", ("administrator", "node", "state", "record", "enrolled", "approved by"), rows)


@admin.command("revoke")
@click.argument("who", metavar="RECORD|NAME")
@click.option("--all", "everywhere", is_flag=True, help="NAME is an administrator, to be revoked at every node.")
@click.option("--reason", default="", help="Why; with --all it goes into the audit log.")
@target_options
@json_option
def revoke(who: str, everywhere: bool, reason: str, as_json: bool, **options: Any) -> None:
    """Stop accepting an administrator at one node, or with --all at every one; that may be repeated."""
    if everywhere:
        done = connect(options).post(f"/v1/admins/{segment(who)}/revoke", {"reason": reason}, LONG_S)
        emit(done, as_json, _print_revocation)
        return
    if reason:
        raise CommandFailed("a reason is noted with --all only", "Leave --reason out, or name NAME --all.")
    done = connect(options).post(f"/v1/profiles/{segment(who)}/revoke")
    emit(done, as_json, lambda _: click.echo(f"{who}: revoke done"))


def _print_revocation(done: dict[str, Any]) -> None:
    click.echo(f"{done['admin']} is revoked at every node; {done['tickets']} open tickets are void with it")
    rows = [[each["node"], each["record_id"], each["was"], when(each["gone_at"])] for each in done["nodes"]]
    if rows:
        table("Records", ("node", "record", "was", "removed there"), rows)
    else:
        click.echo("no node has a record of theirs any more")


@admin.command("readmit")
@click.argument("name")
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@target_options
@json_option
def readmit(name: str, reason: str, as_json: bool, **options: Any) -> None:
    """Let a revoked administrator have tickets again, to enrol anew at each node."""
    done = connect(options).post(f"/v1/admins/{segment(name)}/readmit", {"reason": reason})
    emit(done, as_json, lambda _: click.echo(f"{name} may have tickets again"))


def _profile_action(verb: str, help_text: str) -> click.Command:
    @admin.command(verb, help=help_text)
    @click.argument("record")
    @target_options
    @json_option
    def act(record: str, as_json: bool, **options: Any) -> None:
        done = connect(options).post(f"/v1/profiles/{segment(record)}/{verb}")
        emit(done, as_json, lambda _: click.echo(f"{record}: {verb} done"))

    return act


_profile_action("approve", "Let an enrolled administrator answer for the node.")
_profile_action("erase", "Destroy what is kept of a profile, here and at its node; the audit log says so.")
_profile_action("unlock", "Let an administrator who failed too often try again.")
