"""`keyvigil-authority brake …`."""

from __future__ import annotations

from typing import Any

import click

from authority.cli.client import connect, target_options
from authority.cli.output import emit, json_option, table, when


@click.group()
def brake() -> None:
    """The brake against demoting the fleet by our own fault; two operators decide."""


@brake.command("status")
@target_options
@json_option
def show(as_json: bool, **options: Any) -> None:
    """Whether the brake holds, who voted, and which nodes fell last."""
    emit(connect(options).get("/v1/brake"), as_json, _print)


def _vote(verb: str, help_text: str) -> None:
    @brake.command(verb, help=help_text)
    @click.option("--reason", default="", help="Why; it goes into the audit log.")
    @target_options
    @json_option
    def act(reason: str, as_json: bool, **options: Any) -> None:
        emit(connect(options).post(f"/v1/brake/{verb}", {"reason": reason}), as_json, _print)


_vote("hold", "Vote for keeping every node as it is.")
_vote("release", "Vote for letting what was held take effect.")


def _print(found: dict[str, Any]) -> None:
    click.echo(f"the brake holds since {when(found['since'])}: {found['cause']}" if found["engaged"] else "not engaged")
    table(
        "Votes", ("operator", "decision", "at"), [(v["operator"], v["decision"], when(v["at"])) for v in found["votes"]]
    )
    table("Last falls", ("node", "at"), [(each["node"], when(each["at"])) for each in found["falls"]])
