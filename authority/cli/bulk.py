"""`keyvigil-authority node tokens` and `admin tickets`: what many nodes or administrators need, in one order."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from authority.cli.client import LONG_S, connect, target_options
from authority.cli.output import CommandFailed, emit, json_option
from authority.cli.secret_files import secret_file
from authority.cli.sheets import read_sheet, sheet

MOST_TOKENS, MOST_TICKETS = 1000, 200
"""In one order; the authority holds to the same."""
_YES, _NO = ("1", "true", "yes"), ("", "0", "false", "no")
_path = click.Path(path_type=Path, dir_okay=False)


@click.command("tokens")
@click.option("--from", "source", type=_path, help="CSV with the column `name`, and `lab` (true, false) if wanted.")
@click.option("--count", type=click.IntRange(1, MOST_TOKENS), help="So many nodes, numbered behind --prefix.")
@click.option("--prefix", help="Beginning of the names: rack1- makes rack1-01, rack1-02 and so on.")
@click.option("--first", type=click.IntRange(0, 999_999), default=1, show_default=True, help="Number of the first.")
@click.option("--lab", is_flag=True, help="Accept simulated devices at all of them.")
@click.option("--lifetime", type=click.IntRange(60, 604800), default=3600, show_default=True, help="Seconds.")
@click.option("--out", type=_path, help="Write the tokens to this new file (CSV, 0600).")
@click.option("--stdout", "shown", is_flag=True, help="Print the tokens instead.")
@target_options
@json_option
def tokens(source: Path | None, out: Path | None, shown: bool, as_json: bool, **options: Any) -> None:
    """Make one-time tokens for many nodes: all of them, or none."""
    _check_place(shown, out)
    wanted = _wanted(source, *(options.pop(name) for name in ("lab", "count", "prefix", "first")))
    lifetime = options.pop("lifetime")
    with secret_file(out) as keep:
        body = {"nodes": wanted, "lifetime_s": lifetime}
        made = connect(options).post("/v1/join-tokens/bulk", body, LONG_S)
        text = sheet(("name", "token"), [(each["name"], each["token"]) for each in made])
        keep(text)
    if shown:
        emit(made, as_json, lambda _: click.echo(text))
    else:
        _emit_kept({"count": len(made), "file": os.fspath(out or "")}, as_json, "tokens")


@click.command("tickets")
@click.option("--from", "source", type=_path, required=True, help="CSV with the columns `admin` and `node`.")
@click.option("--lifetime", type=click.IntRange(60, 604800), default=3600, show_default=True, help="Seconds.")
@click.option("--out", type=_path, help="Write the tickets to this new file (CSV, 0600).")
@click.option("--pin-out", type=_path, help="Write the PINs to this new file (CSV, 0600).")
@click.option("--stdout", "shown", is_flag=True, help="Print tickets and PINs instead.")
@target_options
@json_option
def tickets(
    source: Path,
    lifetime: int,
    out: Path | None,
    pin_out: Path | None,
    shown: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make one-time tickets and PINs for many administrators: all of them, or none."""
    _check_place(shown, out, pin_out)
    rows = read_sheet(source, ("admin", "node"), most=MOST_TICKETS)
    with secret_file(out) as keep_tickets, secret_file(pin_out) as keep_pins:
        body = {"tickets": [{**cells, "line": line} for line, cells in rows], "lifetime_s": lifetime}
        made = connect(options).post("/v1/tickets/bulk", body, LONG_S)
        keep_tickets(_columns(made, "ticket"))
        keep_pins(_columns(made, "pin"))
    if shown:
        emit(made, as_json, lambda _: click.echo(_columns(made, "ticket", "pin")))
    else:
        files = {"file": os.fspath(out or ""), "pin_file": os.fspath(pin_out or "")}
        _emit_kept({"count": len(made), **files}, as_json, "tickets")


def _check_place(shown: bool, *files: Path | None) -> None:
    """Secrets go to files, every one of them, or to standard output because somebody said so."""
    named = [file for file in files if file is not None]
    if shown == bool(named) or (not shown and len(named) < len(files)):
        options = "--out" if len(files) == 1 else "--out and --pin-out"
        raise CommandFailed("where do the secrets go?", f"Name {options}, or --stdout to have them printed.")


def _wanted(source: Path | None, lab: bool, count: int | None, prefix: str | None, first: int) -> list[dict[str, Any]]:
    if (source is None) == (count is None) or (count is None) != (prefix is None):
        raise CommandFailed("which nodes?", "Name --from FILE, or --count N with --prefix TEXT.")
    return _rows_of(source, lab) if source is not None else _numbered(count or 0, prefix or "", first, lab)


def _rows_of(source: Path, lab: bool) -> list[dict[str, Any]]:
    return [
        {"name": cells["name"], "lab": _flag(source, line, cells["lab"]) if "lab" in cells else lab, "line": line}
        for line, cells in read_sheet(source, ("name",), ("lab",), MOST_TOKENS)
    ]


def _flag(source: Path, line: int, text: str) -> bool:
    if text.lower() not in _YES + _NO:
        raise CommandFailed(f"{source}, line {line}: {text[:32]!r} is neither true nor false", "Correct that line.")
    return text.lower() in _YES


def _numbered(count: int, prefix: str, first: int, lab: bool) -> list[dict[str, Any]]:
    digits = max(2, len(str(first + count - 1)))
    return [{"name": f"{prefix}{number:0{digits}d}", "lab": lab} for number in range(first, first + count)]


def _columns(made: Sequence[dict[str, Any]], *names: str) -> str:
    columns = ("admin", "node", *names)
    return sheet(columns, [[each[name] for name in columns] for each in made])


def _emit_kept(value: dict[str, Any], as_json: bool, what: str) -> None:
    if as_json:
        click.echo(json.dumps(value, indent=2))
        return
    click.echo(f"{value['count']} {what} written to {value['file']}")
    if value.get("pin_file"):
        click.echo(f"their PINs written to {value['pin_file']}: hand them over on another way")
