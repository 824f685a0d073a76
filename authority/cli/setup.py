"""`keyvigil-authority init` and `keyvigil-authority serve`."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import click

from authority.cli.client import state_option
from authority.cli.output import CommandFailed, emit, json_option
from authority.config import CONFIG_NAME, AuthorityConfig, Endorsement, Listener, Site, render

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
DEFAULT_POLICY = '# Every key that is not named has its default; docs/trust.md lists them.\nversion = "default-1"\n'


@click.command()
@click.option("--name", "names", multiple=True, required=True, help="Host name or address that nodes will use.")
@click.option("--listen", default="0.0.0.0", show_default=True, help="Address of both planes.")  # noqa: S104
@click.option("--node-port", type=click.IntRange(1, 65535), default=8443, show_default=True)
@click.option("--operator-port", type=click.IntRange(1, 65535), default=8444, show_default=True)
@click.option("--ek-roots", type=_FILE, multiple=True, help="PEM file of TPM manufacturers' roots.")
@click.option("--lab-roots", type=_FILE, multiple=True, help="PEM file of roots that are good for lab nodes only.")
@click.option("--policy", type=_FILE, help="Trust policy (TOML); the default one otherwise.")
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
    state: Path,
    as_json: bool,
) -> None:
    """Make the authority's keys, database, configuration, and the first operator's token."""
    from authority.keys import FileKek
    from authority.service import initialise
    from authority.trust import load_policy

    if policy is not None:
        load_policy(policy)
    _make_state(state)
    endorsement = Endorsement(
        roots=_adopt(state, ek_roots, "ek-roots"),
        lab_roots=_adopt(state, lab_roots, "lab-roots"),
    )
    config = AuthorityConfig(
        names=list(names),
        node_plane=Listener(listen, node_port),
        operator_plane=Listener(listen, operator_port),
        endorsement=endorsement,
    )
    write_private(state / config.policy, policy.read_text() if policy else DEFAULT_POLICY)
    site = Site(state, config)
    initialise(site, list(names))
    write_private(state / CONFIG_NAME, render(config))
    made = {"state": os.fspath(state), "operator_token": os.fspath(site.operator_token), "warning": FileKek.WARNING}
    emit(made, as_json, lambda _: _tell(site, FileKek.WARNING))


def _tell(site: Site, warning: str) -> None:
    click.echo(f"The authority is set up in {site.folder}; the first operator's token is in {site.operator_token}.")
    click.echo(f"warning: {warning}", err=True)
    if not site.config.endorsement.roots:
        click.echo("warning: no EK roots are configured, so that only lab nodes can join", err=True)


def _make_state(state: Path) -> None:
    if (state / CONFIG_NAME).exists():
        raise CommandFailed(f"{state} already holds an authority", "Choose another --state; nothing was changed.")
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailed(f"cannot make {state}: {error.strerror}", "Choose another --state.") from None
    if any(state.iterdir()):
        raise CommandFailed(f"{state} is not empty", "Name an empty or new folder as --state.")


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

    form = '{"at": "%(asctime)s", "level": "%(levelname)s", "from": "%(name)s", "message": "%(message)s"}'
    logging.basicConfig(level=logging.INFO, format=form if as_json else "%(asctime)s %(levelname)s %(message)s")
    run(state)
