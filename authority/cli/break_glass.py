"""`keyvigil-authority break-glass …`: made and sealed in quiet times, used once when nothing else lets anybody in."""

from __future__ import annotations

import os
import ssl
import time
from pathlib import Path
from typing import Any

import click

from authority.cli.client import state_option, target, target_options
from authority.cli.output import CommandFailed, emit, json_option, table, when
from authority.cli.secret_files import secret_file

_FILE = click.Path(path_type=Path, dir_okay=False)
_ACTOR = "state-folder"
_passphrase = click.option("--passphrase-file", type=_FILE, required=True, help="File (0600) with its passphrase.")


@click.group("break-glass")
def break_glass() -> None:
    """A sealed credential that admits one operator for an hour."""


@break_glass.command("make")
@click.option("--out", type=_FILE, required=True, help="File for the sealed credential (0600).")
@_passphrase
@state_option
@json_option
def make(out: Path, passphrase_file: Path, state: Path, as_json: bool) -> None:
    """Make one, on the authority's own machine; keep the file and its passphrase with two people."""
    import msgspec

    from authority import break_glass as glass
    from authority.backup import PassphraseLock
    from authority.config import load_site
    from authority.service import peek

    site, lock, now = load_site(state), PassphraseLock.of_file(passphrase_file), time.time()
    secret, identifier = os.urandom(glass.SECRET_BYTES), os.urandom(8).hex()
    with secret_file(out) as keep:
        keep(msgspec.json.encode({"id": identifier, "made_at": now, "sealed": lock.seal(secret, os.urandom)}).decode())
        peek(site, lambda conn: glass.make(conn, identifier, secret, _ACTOR, now))
    emit({"id": identifier, "file": os.fspath(out)}, as_json, lambda made: click.echo(f"{made['id']}: sealed in {out}"))


@break_glass.command("list")
@state_option
@json_option
def list_made(state: Path, as_json: bool) -> None:
    """Every one that was made, and what became of it."""
    from authority import break_glass as glass
    from authority.config import load_site
    from authority.service import peek

    emit(peek(load_site(state), glass.listed), as_json, _print_list)


def _print_list(rows: list[dict[str, Any]]) -> None:
    lines = [[row["id"], when(row["made_at"]), when(row["ended_at"]), row["operator"], row["reason"]] for row in rows]
    table("Break-glass credentials", ("id", "made", "used or voided", "by", "why"), lines)


@break_glass.command("void")
@click.argument("identifier")
@state_option
@json_option
def void(identifier: str, state: Path, as_json: bool) -> None:
    """End one that was not used: its file, or its passphrase, went missing."""
    from authority import break_glass as glass
    from authority.config import load_site
    from authority.service import peek

    if not peek(load_site(state), lambda conn: glass.void(conn, identifier, _ACTOR, time.time())):
        raise CommandFailed(f"no unused credential is called {identifier!r}", "See `break-glass list`.")
    emit({"voided": identifier}, as_json, lambda _: click.echo(f"{identifier}: voided"))


@break_glass.command("use")
@click.argument("file", type=_FILE)
@_passphrase
@click.option("--operator", required=True, help="Who you are.")
@click.option("--reason", required=True, help="Why nothing else would do; everybody will read it.")
@click.option("--out", type=_FILE, required=True, help="File for the token (0600).")
@target_options
@json_option
def use(
    file: Path, passphrase_file: Path, operator: str, reason: str, out: Path, as_json: bool, **options: Any
) -> None:
    """Use one up: a token with every scope for an hour. A critical alert goes to every destination."""
    secret = _unseal(file, passphrase_file)
    with secret_file(out) as keep:
        given = _ask(options, {"secret": secret.hex(), "operator": operator, "reason": reason})
        keep(given.pop("token"))
    told = given | {"file": os.fspath(out)}
    emit(told, as_json, lambda _: click.echo(f"the token is in {out}, until {when(told['expires_at'])}"))


def _unseal(file: Path, passphrase_file: Path) -> bytes:
    import msgspec

    from authority.backup import PassphraseLock
    from authority.backup.locks import Sealed

    try:
        sealed = msgspec.convert(msgspec.json.decode(file.read_bytes())["sealed"], Sealed)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError):
        raise CommandFailed(f"{file} holds no sealed credential", "Name a file of `break-glass make`.") from None
    return PassphraseLock.of_file(passphrase_file).open(sealed)


def _ask(options: dict[str, Any], body: dict[str, str]) -> dict[str, Any]:
    """The authority's answer; the secret is in the body alone."""
    import httpx

    where = target(options["state"], options["url"], options["token_file"], options["ca_file"])
    extensions = {"sni_hostname": where.name} if where.name is not None else {}
    try:
        context = ssl.create_default_context(cafile=os.fspath(where.ca_file))
        with httpx.Client(base_url=where.url, verify=context, timeout=15, trust_env=False) as http:
            answer = http.post("/v1/break-glass", json=body, extensions=extensions)
            said: dict[str, Any] = answer.json()
    except (httpx.HTTPError, OSError, ValueError) as error:
        text = f"the authority at {where.url} does not answer: {type(error).__name__}"
        raise CommandFailed(text, "Start it, or name another --url.") from None
    if not answer.is_success:
        raise CommandFailed(str(said.get("detail", "refused")), str(said.get("remedy", "")), answer.status_code)
    return said
