"""`keyvigil-authority ca …`: a new CA without a flag day, on the authority's own machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from authority.cli.client import state_option
from authority.cli.output import emit, json_option, pairs, when

_ACTOR = "state-folder"


@click.group()
def ca() -> None:
    """The authority's CA, and the one that comes next."""


@ca.command("stage")
@state_option
@json_option
def stage(state: Path, as_json: bool) -> None:
    """Make the next CA; nodes learn of it when they renew their certificates. The authority may be serving."""
    from authority.ca_renewal import stage as make
    from authority.config import load_site

    made = make(load_site(state).path("ca"), time.time())
    emit({"next": made}, as_json, lambda _: click.echo(f"the next CA is {made}; see `ca status`"))


@ca.command("status")
@state_option
@json_option
def status(state: Path, as_json: bool) -> None:
    """How a renewal stands, and which nodes do not trust the next CA yet."""
    from authority import ca_renewal
    from authority.config import load_site
    from authority.service import peek

    site = load_site(state)
    emit(peek(site, lambda conn: ca_renewal.status(conn, site.path("ca"))), as_json, _print_status)


def _print_status(shown: dict[str, Any]) -> None:
    told = {**shown, "behind": ", ".join(shown["behind"]), "activated_at": when(shown["activated_at"])}
    pairs("Certificate authorities", told)


@ca.command("activate")
@click.option("--leave-behind", is_flag=True, help="Although nodes do not trust the next CA: these join again.")
@state_option
@json_option
def activate(leave_behind: bool, state: Path, as_json: bool) -> None:
    """Have the next CA issue from now on; while the authority is stopped."""
    from authority import ca_renewal
    from authority.config import load_site
    from authority.service import peek, sole_use

    site = load_site(state)
    folder, names = site.path("ca"), site.config.names
    with sole_use(site):
        left = peek(
            site,
            lambda conn: ca_renewal.activate(conn, folder, names, _ACTOR, time.time(), leave=leave_behind),
        )
    emit({"left_behind": left}, as_json, lambda _: click.echo("the next CA issues from now on; start the authority"))


@ca.command("retire")
@state_option
@json_option
def retire(state: Path, as_json: bool) -> None:
    """Believe the old CA no longer and destroy its key; while the authority is stopped."""
    from authority import ca_renewal
    from authority.config import load_site
    from authority.service import peek, sole_use
    from authority.trust import load_policy

    site = load_site(state)
    lifetime_s = load_policy(site.path(site.config.policy)).certificate.lifetime_s
    with sole_use(site):
        peek(site, lambda conn: ca_renewal.retire(conn, site.path("ca"), lifetime_s, _ACTOR, time.time()))
    emit({"retired": True}, as_json, lambda _: click.echo("the old CA is gone"))
