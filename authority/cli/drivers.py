"""`keyvigil-authority driver …`: driver code that may stand in for the code which profiles were enrolled with."""

from __future__ import annotations

import re
from typing import Any

import click

from authority.cli.client import connect, target_options
from authority.cli.output import CommandFailed, emit, json_option, when

_HASH = re.compile(r"[0-9a-f]{64}")
_reason = click.option("--reason", default="", help="Why, for the record.")


@click.group()
def driver() -> None:
    """Drivers after an upgrade: which may stand in for those that profiles were enrolled with."""


@driver.command("list")
@target_options
@json_option
def list_followers(as_json: bool, **options: Any) -> None:
    """What stands in for what, and what was withdrawn."""
    emit(connect(options).get_all("/v1/drivers/followers"), as_json, _print)


def _print(found: list[dict[str, Any]]) -> None:
    for each in found:
        click.echo(f"{each['id']}: {each['new']}\n   stands in for {each['old']}")
        click.echo(f"   {when(each['allowed_at'])} by {each['allowed_by']} {each['reason']}".rstrip())
        if each["withdrawn_at"] is not None:
            click.echo(f"   withdrawn {when(each['withdrawn_at'])} by {each['withdrawn_by']}")
    if not found:
        click.echo("no driver follows another")


@driver.command("follow")
@click.argument("old")
@click.argument("new")
@_reason
@target_options
@json_option
def follow(old: str, new: str, reason: str, as_json: bool, **options: Any) -> None:
    """Let the driver code with the hash NEW stand in for OLD at every node.

    `keyvigil devices` prints the hash of what is installed. Nodes with either are accepted then, so that an upgrade may
    take its time; profiles stay as they were enrolled.
    """
    if wrong := [each for each in (old, new) if not _HASH.fullmatch(each)]:
        raise CommandFailed(f"{wrong[0][:80]} is no SHA-256", "Give 64 hexadecimal digits, as `keyvigil devices` does.")
    body = {"old": old, "new": new, "reason": reason}
    emit(connect(options).post("/v1/drivers/followers", body), as_json, lambda _: click.echo("it may stand in"))


@driver.command("withdraw")
@click.argument("follower_id", metavar="ID", type=click.IntRange(min=1))
@_reason
@target_options
@json_option
def withdraw(follower_id: int, reason: str, as_json: bool, **options: Any) -> None:
    """Let it stand in no longer: answers from nodes that run it fail from then on."""
    answer = connect(options).post(f"/v1/drivers/followers/{follower_id}/withdraw", {"reason": reason})
    emit(answer, as_json, lambda _: click.echo("withdrawn"))
