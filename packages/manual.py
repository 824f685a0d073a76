"""Manual pages from the command lines themselves (man(7)).

`python -m packages.manual MODULE NAME` prints the page of the click group `cli` in MODULE, dated SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator

import click

_STATUS = {
    "0": "Success.",
    "1": "A refusal or a failure.",
    "2": "Wrong usage, or a configuration that cannot be used.",
    "130": "Interrupted.",
}
_ESCAPES = str.maketrans({"\\": "\\e", "-": "\\-", '"': "\\(dq", "'": "\\(aq", "`": "\\(ga"})


def page(group: click.Group, name: str, when: int, version: str) -> str:
    """The page as man(7) has it; `when` is a POSIX time in seconds."""
    date = time.strftime("%Y-%m-%d", time.gmtime(when))
    context = click.Context(group, info_name=name)
    lines = [f'.TH "{_text(name.upper())}" "1" "{date}" "Keyvigil {_text(version)}" "Keyvigil"']
    lines += [".SH NAME", f"{_text(name)} \\- {_text(_first_line(group))}"]
    lines += [".SH SYNOPSIS", f".B {_text(name)}", "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]"]
    lines += [".SH DESCRIPTION", _text(group.help or ""), *_options(group, context), ".SH COMMANDS"]
    for command, inner in _commands(group, context):
        lines += [".SS", _text(_usage(inner)), _text(_help(command)), *_options(command, inner)]
    lines += [".SH EXIT STATUS"]
    for status, meaning in _STATUS.items():
        lines += [".TP", f".B {status}", meaning]
    return "\n".join(line for line in lines if line) + "\n"


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Every command that does something, and how it is called, in the order of the help."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(command, inner)
        else:
            yield command, inner


def _usage(context: click.Context) -> str:
    return " ".join([context.command_path, *context.command.collect_usage_pieces(context)])


def _help(command: click.Command) -> str:
    return " ".join((command.help or "").split())


def _first_line(command: click.Command) -> str:
    return (command.help or "").strip().partition("\n")[0].rstrip(".")


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1] and "--help" not in parameter.opts:
            yield from (".TP", f".B {_text(record[0])}", _text(" ".join(record[1].split())))


def _text(text: str) -> str:
    """`text` without anything that troff would take for an order."""
    safe = text.translate(_ESCAPES)
    return f"\\&{safe}" if safe.startswith(".") else safe


def main() -> None:
    """Print the page of the command line that the arguments name."""
    module, name = sys.argv[1:]
    loaded = importlib.import_module(module)
    version = importlib.import_module("importlib.metadata").version("keyvigil")
    sys.stdout.write(page(loaded.cli, name, int(os.environ["SOURCE_DATE_EPOCH"]), version))


if __name__ == "__main__":
    main()
