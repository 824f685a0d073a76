"""`keyvigil-authority backup` and `keyvigil-authority restore`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from authority.cli.client import state_option
from authority.cli.output import CommandFailed, emit, json_option, when

_FILE = click.Path(path_type=Path, dir_okay=False)
_ACTOR = "state-folder"


def _lock(key: Path | None, passphrase: Path | None) -> Any:
    from authority.backup import KeyLock, PassphraseLock

    if (key is None) == (passphrase is None):
        raise CommandFailed("a backup is made for a key or for a passphrase", "Give one of the two files.")
    return KeyLock.of_file(key) if key is not None else PassphraseLock.of_file(passphrase)  # type: ignore[arg-type]


@click.command()
@click.argument("out", type=_FILE)
@click.option("--recipient", type=_FILE, help="PEM file with the P-256 public key of whoever may restore.")
@click.option("--passphrase-file", type=_FILE, help="File (0600) with a passphrase of 16 bytes or more.")
@state_option
@json_option
def backup(out: Path, recipient: Path | None, passphrase_file: Path | None, state: Path, as_json: bool) -> None:
    """Write a sealed backup to the new file OUT, and read it back; the authority may be serving."""
    from authority.backup import make_backup
    from authority.backup.making import note_backup
    from authority.config import load_site
    from authority.service import peek

    lock, site, now = _lock(recipient, passphrase_file), load_site(state), time.time()
    made = make_backup(site, out, lock, now)
    kind = "key" if recipient is not None else "passphrase"
    peek(site, lambda conn: note_backup(conn, made, kind, _ACTOR, now))
    shown = {
        "path": os.fspath(made.path),
        "size": made.size,
        "sha256": made.sha256,
        "files": made.files,
        "generation": made.generation,
        "log_size": made.log_size,
        "outside": made.outside,
    }
    emit(shown, as_json, _print_backup)


def _print_backup(shown: dict[str, Any]) -> None:
    click.echo(f"{shown['path']}: {shown['size']} bytes, {shown['files']} files, verified; sha256 {shown['sha256']}")
    for name in shown["outside"]:
        click.echo(f"warning: {name} lies outside the state folder and is not in the backup", err=True)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--key", type=_FILE, help="PEM file (0600) with the private key that the backup was made for.")
@click.option("--passphrase-file", type=_FILE, help="File (0600) with the passphrase.")
@click.option("--kek-lost", is_flag=True, help="Make a new key-encryption key; what the lost one wrapped is given up.")
@state_option
@json_option
def restore(
    file: Path, key: Path | None, passphrase_file: Path | None, kek_lost: bool, state: Path, as_json: bool
) -> None:
    """Make the new state folder --state from a backup: checked first, and fenced before it can issue anything."""
    from authority.backup import BackupError, restore_backup
    from authority.keys import KekError

    lock = _lock(key, passphrase_file)
    try:
        done = restore_backup(file, state, lock, kek_lost=kek_lost)
    except KekError as error:
        text = f"the backup is whole, but its key-encryption key is not to be had here: {error}"
        raise BackupError(text, f"{error.remedy} If it is gone for good: --kek-lost.") from None
    shown = {
        "state": os.fspath(done.folder),
        "made_at": done.made_at,
        "generation": done.generation,
        "tokens_revoked": done.tokens_revoked,
        "log_intact": done.log.intact,
        "log_size": done.log.length,
    }
    emit(shown, as_json, _print_restore)


def _print_restore(shown: dict[str, Any]) -> None:
    click.echo(
        f"{shown['state']}: restored from the backup of {when(shown['made_at'])}; generation {shown['generation']}"
    )
    click.echo(f"{shown['tokens_revoked']} operators' tokens were revoked; the new first one is in operator.token.")
    click.echo("What was decided since that backup is lost: docs/operations.md says what to look through.")
    if not shown["log_intact"]:
        click.echo("warning: the audit log in the backup does not hold: see `audit verify`", err=True)
