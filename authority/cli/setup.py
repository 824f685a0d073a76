"""`keyvigil-authority init` and `keyvigil-authority serve`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from authority.cli.client import state_option
from authority.cli.keks import kek_choice
from authority.cli.logs import configure
from authority.cli.output import CommandFailed, emit, json_option
from authority.config import CONFIG_NAME, AuthorityConfig, Endorsement, Listener, Site, render

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
DEFAULT_POLICY = """\
# Every key that is not named has its default; docs/trust.md lists them.
version = "default-1"

[delivery]
outage_s = 43200 # for so long high nodes rotate, and start anew, without this authority; 0: they hold no key ahead
"""


@click.command()
@click.option("--name", "names", multiple=True, required=True, help="Host name or address that nodes will use.")
@click.option("--listen", default="0.0.0.0", show_default=True, help="Address of both planes.")  # noqa: S104
@click.option("--node-port", type=click.IntRange(1, 65535), default=8443, show_default=True)
@click.option("--operator-port", type=click.IntRange(1, 65535), default=8444, show_default=True)
@click.option("--ek-roots", type=_FILE, multiple=True, help="PEM file of TPM manufacturers' roots.")
@click.option("--lab-roots", type=_FILE, multiple=True, help="PEM file of roots that are good for lab nodes only.")
@click.option("--policy", type=_FILE, help="Trust policy (TOML); the default one otherwise.")
@click.option("--kek", "kek_kind", default="file", show_default=True, help="Kind of the key-encryption key.")
@click.option("--kek-option", "kek_options", multiple=True, metavar="NAME=VALUE", help="An option of that kind.")
@click.option("--database", default="authority.db", show_default=True, help="File, or postgresql://USER@HOST/NAME.")
@click.option("--database-password-file", default="", help="File (0600) with the password, or credential:NAME.")
@state_option
@json_option
def init(  # noqa: PLR0913, PLR0917 - one option each
    names: tuple[str, ...],
    listen: str,
    node_port: int,
    operator_port: int,
    ek_roots: tuple[Path, ...],
    lab_roots: tuple[Path, ...],
    policy: Path | None,
    kek_kind: str,
    kek_options: tuple[str, ...],
    database: str,
    database_password_file: str,
    state: Path,
    as_json: bool,
) -> None:
    """Make the authority's keys, database, configuration, and the first operator's token."""
    from authority.keys.kek import KekError
    from authority.keys.kek_kinds import kind_of

    kek = kek_choice(kek_kind, kek_options)
    try:
        warning = kind_of(kek_kind).warning
    except KekError as error:
        raise CommandFailed(str(error), error.remedy) from None
    _check_addresses(names, listen, node_port, operator_port)
    _check_files((*ek_roots, *lab_roots), policy)
    with _new_state(state):
        endorsement = Endorsement(
            roots=_adopt(state, ek_roots, "ek-roots"),
            lab_roots=_adopt(state, lab_roots, "lab-roots"),
        )
        config = AuthorityConfig(
            names=list(names),
            node_plane=Listener(listen, node_port),
            operator_plane=Listener(listen, operator_port),
            endorsement=endorsement,
            database=database,
            database_password_file=database_password_file,
        )
        site = Site(state, config)
        _fill(site, policy.read_text(encoding="utf-8") if policy else DEFAULT_POLICY, kek)
    made = {"state": os.fspath(state), "operator_token": os.fspath(site.operator_token), "warning": warning}
    emit(made, as_json, lambda _: _tell(site, warning))


def _fill(site: Site, policy: str, kek: tuple[str, dict[str, str]]) -> None:
    """Everything in the state folder; the configuration last, for with it the folder holds an authority."""
    from authority.keys.kek import KekError
    from authority.service import initialise

    write_private(site.path(site.config.policy), policy)
    try:
        initialise(site, site.config.names, kek=kek)
    except KekError as error:
        raise CommandFailed(str(error), error.remedy) from None
    write_private(site.path(CONFIG_NAME), render(site.config))


def _check_addresses(names: Sequence[str], listen: str, node_port: int, operator_port: int) -> None:
    from authority.pki import check_names

    check_names(names)
    check_names([listen])
    if node_port == operator_port:
        raise CommandFailed("both planes cannot listen on one port", "Choose another --operator-port.")


def _check_files(roots: Sequence[Path], policy: Path | None) -> None:
    """Whether roots and policy can be used, before anything is made."""
    from authority.tpm import load_roots
    from authority.trust import load_policy

    if policy is not None:
        load_policy(policy)
    for file in roots:
        try:
            load_roots(file.read_bytes())
        except (OSError, ValueError):
            raise CommandFailed(f"{file} holds no certificates", "Name a file with PEM certificates.") from None


def _tell(site: Site, warning: str) -> None:
    click.echo(f"The authority is set up in {site.folder}; the first operator's token is in {site.operator_token}.")
    if warning:
        click.echo(f"warning: {warning}", err=True)
    if not site.config.endorsement.roots:
        click.echo("warning: no EK roots are configured, so that only lab nodes can join", err=True)


@contextmanager
def _new_state(state: Path) -> Iterator[None]:
    """The state folder, empty and the owner's alone; what was put into it is removed again when the body fails."""
    if (state / CONFIG_NAME).exists():
        raise CommandFailed(f"{state} already holds an authority", "Choose another --state; nothing was changed.")
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        empty = not any(state.iterdir())
    except OSError as error:
        raise CommandFailed(f"cannot make {state}: {error.strerror}", "Choose another --state.") from None
    if not empty:
        raise CommandFailed(f"{state} is not empty", "Name an empty or new folder as --state.")
    try:
        state.chmod(0o700)
        yield
    except BaseException as error:
        _empty(state)
        if isinstance(error, OSError):
            raise CommandFailed(f"cannot fill {state}: {error.strerror}", "Check the disk and try again.") from None
        raise


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _adopt(state: Path, files: tuple[Path, ...], stem: str) -> list[str]:
    """Copy the PEM files into the state folder, so that it stands by itself; their names there."""
    names = []
    for number, file in enumerate(files, 1):
        name = f"{stem}-{number}.pem"
        shutil.copyfile(file, state / name)
        names.append(name)
    return names


def write_private(file: Path, text: str) -> None:
    """Write a new 0600 file."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)


@click.command()
@state_option
@json_option
def serve(state: Path, as_json: bool) -> None:
    """Serve nodes and operators until SIGTERM."""
    from authority.service import serve as run

    configure(as_json=as_json)
    run(state)
