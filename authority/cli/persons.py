"""`keyvigil-authority token persons|shut-out|readmit`: operators of the site's identity provider."""

from __future__ import annotations

from typing import Any

import click

from authority.cli.client import connect, target_options
from authority.cli.output import emit, json_option, table, when


@click.command("persons")
@target_options
@json_option
def persons(as_json: bool, **options: Any) -> None:
    """Persons of identity providers who were seen: with which scopes, when last, and who is shut out."""
    emit(connect(options).get_all("/v1/persons"), as_json, _print)


def _print(found: list[dict[str, Any]]) -> None:
    rows = [[each["name"], each["state"], " ".join(each["scopes"]), when(each["seen_at"])] for each in found]
    table("Persons", ("name", "state", "scopes", "seen"), rows)


@click.command("shut-out")
@click.argument("name")
@target_options
@json_option
def shut_out(name: str, as_json: bool, **options: Any) -> None:
    """Refuse the tokens of NAME (`oidc:PROVIDER/SUBJECT`) at once; their orders and votes count no longer."""
    done = connect(options).post("/v1/persons/shut-out", {"name": name})
    emit(done, as_json, lambda _: click.echo(f"{name}: shut out"))


@click.command("readmit")
@click.argument("name")
@target_options
@json_option
def readmit(name: str, as_json: bool, **options: Any) -> None:
    """Take the tokens of NAME again, who was shut out."""
    done = connect(options).post("/v1/persons/readmit", {"name": name})
    emit(done, as_json, lambda _: click.echo(f"{name}: let in again"))
