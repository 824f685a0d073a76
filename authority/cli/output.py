"""How the command line speaks: tables for people, JSON for programs, one error form for both."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class CommandFailed(Exception):
    """A command ends with status 1; `remedy` says what to do, `status` is the authority's (HTTP), 0 if it said none."""

    def __init__(self, message: str, remedy: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.status = status


def run_group(group: click.Group, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, by default the process's own, and end the process; no error leaves a traceback.

    With `--json` among the `arguments` an error goes to standard output as JSON, beside the words for people.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments  # the parser may not have come to it when it gives up
    try:
        group.main([*arguments], standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        _say_json(error.format_message(), "", as_json=as_json)
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", "", 130, as_json=as_json)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the last line before a traceback
        message = str(error) or type(error).__name__
        _fail(message, str(getattr(error, "remedy", "")), 1, as_json=as_json)
    sys.exit(0)


def _fail(message: str, remedy: str, status: int, *, as_json: bool) -> NoReturn:
    _say_json(message, remedy, as_json=as_json)
    click.echo(f"error: {printable(message)}", err=True)
    if remedy:
        click.echo(f"remedy: {printable(remedy)}", err=True)
    sys.exit(status)


def _say_json(message: str, remedy: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"error": message, "remedy": remedy}))


def printable(text: str) -> str:
    """`text` without control characters and line ends, which a remote side could use to forge lines."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def emit(value: Any, as_json: bool, human: Callable[[Any], None]) -> None:
    """Print `value` as JSON, or leave it to `human`; an order that waits for a second operator is told as that."""
    if as_json:
        click.echo(json.dumps(value, indent=2))
    elif isinstance(value, dict) and value.get("ok") is False and isinstance(value.get("approval"), int):
        number = value["approval"]
        click.echo(f"waits for a second operator: `keyvigil-authority approvals approve {number}`")
    else:
        human(value)


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table for people."""
    view = Table(title=title, title_justify="left", header_style="bold")
    for heading in headings:
        view.add_column(heading, overflow="fold")
    for row in rows:
        view.add_row(*(escape(printable("" if cell is None else str(cell))) for cell in row))
    Console().print(view)


def pairs(title: str, values: dict[str, object]) -> None:
    """Print names and values for people."""
    table(title, ("", ""), list(values.items()))


def when(timestamp: float | None) -> str:
    """A POSIX time in local time and words; "never" for none."""
    if timestamp is None:
        return "never"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))


def until(timestamp: float | None, now: float) -> str:
    """How long until a POSIX time."""
    if timestamp is None:
        return "-"
    left = int(timestamp - now)
    if left <= 0:
        return "due"
    return f"{left}s" if left < 120 else f"{left // 60}min" if left < 7200 else f"{left // 3600}h"


def score(thousandths: int) -> str:
    """A score as people read it, 0.00 to 1.00."""
    return f"{thousandths / 1000:.2f}"
