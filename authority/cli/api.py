"""`keyvigil-authority api schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from authority.cli.output import CommandFailed, emit, json_option


@click.group()
def api() -> None:
    """The open API."""


@api.command("schema")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
@json_option
def schema(out: Path | None, as_json: bool) -> None:
    """The OpenAPI 3.1 description of this version's operator plane; needs no authority."""
    from authority.planes.blank import api_description

    text = render(api_description())
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"cannot write {out}: {error.strerror}", "Name another --out.") from None
    emit({"file": str(out)}, as_json, lambda value: click.echo(f"written to {value['file']}"))


def render(document: dict[str, Any]) -> str:
    """As it is checked in: one key a line, sorted, so that a change of the API is seen in review."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
