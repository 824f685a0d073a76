"""Completion scripts for bash, zsh and fish: `python -m packages.completion MODULE NAME SHELL` prints one."""

from __future__ import annotations

import importlib
import sys

import click
from click.shell_completion import get_completion_class

SHELLS = {
    "bash": "usr/share/bash-completion/completions/{name}",
    "zsh": "usr/share/zsh/vendor-completions/_{name}",
    "fish": "usr/share/fish/vendor_completions.d/{name}.fish",
}
"""Where Debian's shells look for them, below the root."""


def script(group: click.Group, name: str, shell: str) -> str:
    """The script by which `shell` asks the command itself; raises `ValueError` for a shell that click does not know."""
    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(f"no completion for {shell}")
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    return kind(group, {}, name, variable).source()


def main() -> None:
    """Print the script of the command line that the arguments name."""
    module, name, shell = sys.argv[1:]
    sys.stdout.write(script(importlib.import_module(module).cli, name, shell))


if __name__ == "__main__":
    main()
