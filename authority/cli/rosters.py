"""`keyvigil-authority node roster` and `admin roster`: who and what there is, for an auditor."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from authority.cli.client import F, connect, target_options
from authority.cli.output import CommandFailed, emit, json_option, score, table
from authority.cli.secret_files import secret_file
from authority.cli.sheets import moment, sheet

_STATES = ("pending", "active", "overdue", "demoted", "isolated", "banned", "retired")
_NODE_COLUMNS = (
    *("name", "id", "state", "reason", "lab", "enclave", "ownership", "tier", "score", "joined", "last_seen"),
    *("last_attested", "certificate_until", "networks", "administrators"),
)
_PERSON_COLUMNS = (
    *("administrator", "state", "since", "revoked", "node", "record", "profile", "enrolled", "approved"),
    *("approved_by", "removed_there", "modalities"),
)
Row = Sequence[object]


def _output_options(command: F) -> F:
    for option in (
        click.option("--csv", "as_csv", is_flag=True, help="CSV, times in UTC."),
        click.option(
            "--out",
            type=click.Path(path_type=Path, dir_okay=False),
            help="To this new file (0600), JSON without --csv.",
        ),
    ):
        command = option(command)
    return command


@click.command("roster")
@click.option("--only", "wanted", type=click.Choice(_STATES), help="Nodes in this state only.")
@click.option("--tier", type=click.Choice(("high", "medium", "low")), help="Nodes of this tier only.")
@click.option("--lab/--no-lab", default=None, help="Lab nodes only, or the others.")
@click.option("--network", help="Members of this network only.")
@click.option("--search", help="Nodes whose name has this in it.")
@click.option("--unseen-days", type=click.FloatRange(0, 36500), help="Nodes that nobody has seen for so long.")
@_output_options
@target_options
@json_option
def node_roster(as_csv: bool, out: Path | None, as_json: bool, **options: Any) -> None:
    """Every node with its state, for an auditor."""
    asked = {name: options.pop(name) for name in ("wanted", "tier", "network", "search", "lab", "unseen_days")}
    asked["state"] = asked.pop("wanted")
    asked["lab"] = None if asked["lab"] is None else str(asked["lab"]).lower()
    days = asked.pop("unseen_days")
    asked["unseen_since"] = None if days is None else time.time() - days * 86400
    found = connect(options).get_all("/v1/roster/nodes", limit=1000, **asked)
    _give("Nodes", found, _NODE_COLUMNS, [_node_row(each) for each in found], as_csv, out, as_json)


@click.command("roster")
@click.option("--only", "wanted", type=click.Choice(("active", "revoked")), help="Administrators in this state only.")
@click.option("--node", help="Those who may enrol or answer at this node only.")
@click.option("--search", help="Administrators whose name has this in it.")
@_output_options
@target_options
@json_option
def administrator_roster(as_csv: bool, out: Path | None, as_json: bool, **options: Any) -> None:
    """Every administrator with all their profiles, for an auditor."""
    asked = {name: options.pop(name) for name in ("wanted", "node", "search")}
    asked["state"] = asked.pop("wanted")
    found = connect(options).get_all("/v1/roster/administrators", **asked)
    rows = [row for each in found for row in _person_rows(each)]
    _give("Administrators", found, _PERSON_COLUMNS, rows, as_csv, out, as_json)


def _give(
    title: str, found: list[Any], columns: Sequence[str], rows: list[Row], as_csv: bool, out: Path | None, as_json: bool
) -> None:
    if as_csv and as_json and out is None:
        raise CommandFailed("CSV or JSON?", "Leave out --csv or --json, or name --out.")
    if out is None:
        text = sheet(columns, rows) if as_csv else ""
        emit(found, as_json, lambda _: click.echo(text) if as_csv else table(title, columns, rows))
        return
    with secret_file(out) as keep:
        keep(sheet(columns, rows) if as_csv else json.dumps(found, indent=2))
    done = {"count": len(found), "file": os.fspath(out)}
    emit(done, as_json, lambda _: click.echo(f"{len(found)} written to {os.fspath(out)}"))


def _node_row(each: dict[str, Any]) -> Row:
    times = (each[name] for name in ("joined_at", "last_seen_at", "last_attested_at", "certificate_not_after"))
    plain = (each[name] for name in ("name", "id", "state", "reason", "lab", "enclave", "ownership", "tier"))
    lists = (" ".join(each[name]) for name in ("networks", "administrators"))
    return (*plain, score(each["score"]), *map(moment, times), *lists)


def _person_rows(each: dict[str, Any]) -> list[Row]:
    """One for each profile, and one for somebody who has none."""
    who = each["name"], each["state"], moment(each["created_at"]), moment(each["revoked_at"])
    rows: list[Row] = [(*who, *_profile_cells(profile)) for profile in each["profiles"]]
    return rows or [(*who, *([""] * (len(_PERSON_COLUMNS) - len(who))))]


def _profile_cells(profile: dict[str, Any]) -> Row:
    plain = profile["node"], profile["record_id"], profile["state"]
    approved = moment(profile["created_at"]), moment(profile["approved_at"]), profile["approved_by"]
    return (*plain, *approved, moment(profile["gone_at"]), " ".join(profile["modalities"]))


@click.command("stale")
@click.option("--alert-days", type=click.FloatRange(0, 36500), help="Try this limit instead of the policy's.")
@click.option("--retire-days", type=click.FloatRange(0, 36500), help="Try this limit instead of the policy's.")
@target_options
@json_option
def stale(alert_days: float | None, retire_days: float | None, as_json: bool, **options: Any) -> None:
    """Nodes that nobody sees any more, and which the policy retires next; changes nothing."""
    days = {"alert_s": alert_days, "retire_s": retire_days}
    asked = {name: value * 86400 for name, value in days.items() if value is not None}
    emit(connect(options).get_all("/v1/stale", **asked), as_json, _print_stale)


def _print_stale(nodes: list[dict[str, Any]]) -> None:
    if not nodes:
        click.echo("no node is stale; where the policy has no [stale] section, try --alert-days and --retire-days")
        return
    rows = [
        (each["node"], each["state"], f"{each['silent_s'] / 86400:.1f}", *_steps(each))
        for each in sorted(nodes, key=lambda each: -float(each["silent_s"]))
    ]
    table("Stale nodes", ("node", "state", "days silent", "told of", "next", "goes from"), rows)


def _steps(each: dict[str, Any]) -> Row:
    goes = "-" if each["retire_at"] is None else moment(each["retire_at"])
    return moment(each["alerted_at"]) or "not yet", each["step"], goes
