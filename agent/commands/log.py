"""`keyvigil log`: the authority's audit log as this node knows it."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from agent.commands._common import config_option, configured, json_option, print_json
from agent.identity import IdentityStore
from agent.logbook import LogBook, LogState
from agent.state import StateDirectory


@click.group()
def log() -> None:
    """Show the newest checkpoint of the authority's audit log, or accept the log anew."""


@log.command()
@config_option
@json_option
def show(config_path: Path, as_json: bool) -> int:
    """Show the checkpoint that is kept; exit status 1 when the log did not continue it."""
    known = _book(config_path).read()
    trouble = known.trouble(time.time())
    if as_json:
        print_json({**msgspec.to_builtins(known), "trouble": trouble})
    else:
        click.echo(known.note or "no checkpoint has come yet\n", nl=False)
        if trouble:
            click.echo(f"\nREFUSED: {trouble}\n\n{known.alarm_note}", nl=False)
    return 1 if trouble else 0


@log.command()
@config_option
@json_option
def accept(config_path: Path, as_json: bool) -> None:
    """Forget the checkpoint and the alarm: after a restored backup, once an operator has explained it."""
    before: LogState = _book(config_path).accept()
    if as_json:
        print_json({"forgotten": msgspec.to_builtins(before)})
    else:
        click.echo(f"the checkpoint of {before.size} records is forgotten; the next one is taken as it comes")


def _book(config_path: Path) -> LogBook:
    state = StateDirectory.open(configured(config_path).state_dir)
    return LogBook(state, lambda: IdentityStore(state).load().log_trust, time.time)
