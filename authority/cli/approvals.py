"""`keyvigil-authority approvals …`: what waits for a second operator."""

from __future__ import annotations

from typing import Any

import click

from authority.cli.client import connect, target_options
from authority.cli.output import emit, json_option, table, when

_STATES = ["open", "approved", "rejected", "expired"]


@click.group()
def approvals() -> None:
    """Orders of one operator that take effect when another says so."""


@approvals.command("list")
@click.option("--only", "wanted", type=click.Choice(_STATES), help="Only those that stand so.")
@target_options
@json_option
def list_approvals(wanted: str | None, as_json: bool, **options: Any) -> None:
    """Orders, oldest first."""
    emit(connect(options).get_all("/v1/approvals", **({"state": wanted} if wanted else {})), as_json, _print)


def _print(found: list[dict[str, Any]]) -> None:
    rows = [
        [each["id"], each["state"], each["action"], each["target"], each["requested_by"], each["reason"], _end(each)]
        for each in found
    ]
    table("Approvals", ("id", "state", "order", "of", "asked by", "reason", "until"), rows)


def _end(each: dict[str, Any]) -> str:
    decided = each["decided_by"]
    return f"{decided}, {when(each['decided_at'])}" if decided else when(each["expires_at"])


def _decision(verb: str, done: str, help_text: str) -> click.Command:
    @approvals.command(verb, help=help_text)
    @click.argument("number", type=click.IntRange(min=1))
    @click.option("--reason", default="", help="Why; it goes into the audit log.")
    @target_options
    @json_option
    def decide(number: int, reason: str, as_json: bool, **options: Any) -> None:
        answer = connect(options).post(f"/v1/approvals/{number}/{verb}", {"reason": reason})
        emit(answer, as_json, lambda _: click.echo(f"order {number}: {done}"))

    return decide


_decision("approve", "carried out", "Carry out what another operator asked for.")
_decision("reject", "rejected", "Close an order that is not to be carried out; your own as well.")
