"""`keyvigil-authority kek …` and `keyvigil-authority fence`: on the state folder of an authority that is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from authority.cli.client import state_option
from authority.cli.output import CommandFailed, emit, json_option, table

F = TypeVar("F", bound=Callable[..., Any])
_ACTOR = "state-folder"
"""Who acts where no operator's token is asked for: whoever has the state folder."""


def kek_options(command: F) -> F:
    """Adds what chooses a kind of key-encryption key."""
    for option in (
        click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of this kind."),
        click.option("--to", "kind", default="file", show_default=True, help="Kind of the new key."),
    ):
        command = option(command)
    return command


def kek_choice(kind: str, options: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Kind and options of a new key."""
    pairs = [option.partition("=") for option in options]
    if not all(sign for _, sign, _ in pairs):
        raise CommandFailed("an option is given as NAME=VALUE", "docs/keys.md lists the options of every kind.")
    return kind, {name: value for name, _, value in pairs}


@click.group()
def kek() -> None:
    """Key-encryption keys: what wraps the secrets in the database."""


@kek.command("show")
@state_option
@json_option
def show(state: Path, as_json: bool) -> None:
    """Which keys there are, and which wraps how much; never a key. The authority may be running."""
    from authority.config import load_site
    from authority.keys import KekError
    from authority.keys.kek_shelf import KekShelf, Usage, usage
    from authority.service import peek

    site = load_site(state)
    try:
        entries, used = KekShelf(site.folder).entries(), peek(site, usage)
    except KekError as error:
        raise CommandFailed(str(error), error.remedy) from None
    nothing = Usage(current=False, versions=0, shares=0, owners=0)
    rows = [
        {
            "kek_id": entry.kek_id,
            "kind": entry.kind,
            **entry.description,
            **used.get(entry.kek_id, nothing).as_dict(),
        }
        for entry in entries
    ]
    emit(rows, as_json, _print_keys)


def _print_keys(rows: list[dict[str, Any]]) -> None:
    headings = ("kek_id", "kind", "in force", "versions", "shares", "TPM owners")
    lines = [
        [row["kek_id"], row["kind"], "yes" if row["current"] else "no", row["versions"], row["shares"], row["owners"]]
        for row in rows
    ]
    table("Key-encryption keys", headings, lines)


@kek.command("rotate")
@kek_options
@state_option
@json_option
def rotate(kind: str, options: tuple[str, ...], state: Path, as_json: bool) -> None:
    """Make a new key and put everything under it, in one transaction; the old key stays until `kek destroy`."""
    from authority.keys.kek_kinds import kind_of
    from authority.keys.kek_shelf import KekShelf, rewrap

    chosen = kek_choice(kind, options)
    with _stopped(state) as authority:
        rt, shelf = authority.runtime, KekShelf(authority.site.folder, authority.runtime.random)
        new = shelf.open(shelf.add(*chosen).kek_id)
        done = authority.store.run(lambda conn: rewrap(conn, rt.kek, new, _ACTOR, rt.now()))
    answer = {"from": rt.kek.kek_id, "to": new.kek_id, **done, "warning": kind_of(kind).warning}
    emit(answer, as_json, _print_rotation)


def _print_rotation(answer: dict[str, Any]) -> None:
    count = f"{answer['versions']} key versions, {answer['shares']} shares and {answer['owners']} owners of TPMs"
    click.echo(f"{count} are under {answer['to']} now.")
    click.echo(f"Destroy the old key when the authority runs well: kek destroy {answer['from']}")
    if answer["warning"]:
        click.echo(f"warning: {answer['warning']}", err=True)


@kek.command("destroy")
@click.argument("kek_id")
@state_option
@json_option
def destroy(kek_id: str, state: Path, as_json: bool) -> None:
    """Destroy a key that wraps nothing any more: what old copies of the database have under it is lost for good."""
    from authority.keys.kek_shelf import KekShelf, note_destruction

    with _stopped(state) as authority:
        rt = authority.runtime
        if kek_id == rt.kek.kek_id:
            raise CommandFailed(f"{kek_id} wraps this database", "Run `kek rotate` first.")
        KekShelf(authority.site.folder, rt.random).destroy(kek_id)
        authority.store.run(lambda conn: note_destruction(conn, kek_id, _ACTOR, rt.now()))
    emit({"destroyed": kek_id}, as_json, lambda _: click.echo(f"{kek_id}: destroyed"))


@kek.command("lost")
@kek_options
@click.option("--yes", is_flag=True, help="What the key wrapped is given up for good.")
@state_option
@json_option
def lost(kind: str, options: tuple[str, ...], yes: bool, state: Path, as_json: bool) -> None:
    """Go on without the key that wraps the database, which is gone: new network keys; people enrol again."""
    from authority.keys import KekError, kek_loss
    from authority.keys.kek_shelf import KekShelf, current

    chosen = kek_choice(kind, options)
    gone: list[str | None] = []

    def choose(conn: Any, shelf: KekShelf) -> Any:
        try:
            present = current(conn, shelf)
        except KekError:
            new = shelf.open(shelf.add(*chosen).kek_id)
            gone.append(kek_loss.name_new(conn, new.kek_id))
            return new
        raise CommandFailed(f"{present.kek_id} is there", "Use `kek rotate`: nothing is lost by that.")

    if not yes:
        raise CommandFailed("this gives up everything that the lost key wrapped", "Look for the key; then say --yes.")
    with _stopped(state, choose) as authority:
        rt = authority.runtime
        done = authority.store.run(lambda conn: kek_loss.give_up(conn, rt, gone[0], _ACTOR, rt.now()))
        _begin_generation(authority, "the key-encryption key was lost")
    emit({"lost": gone[0], "to": rt.kek.kek_id, **vars(done)}, as_json, _print_loss)


def _print_loss(answer: dict[str, Any]) -> None:
    click.echo(f"{answer['to']} wraps from now on; {answer['networks']} networks have new keys.")
    click.echo(
        f"{answer['profiles']} people have to enrol again, {answer['owners']} TPMs to be cleared and to join again."
    )


@click.command()
@click.option("--reason", default="an operator said so", help="Why; it goes into the audit log.")
@state_option
@json_option
def fence(reason: str, state: Path, as_json: bool) -> None:
    """Begin a new generation: to be run whenever a backup of the whole state folder was restored, or copied."""
    with _stopped(state) as authority:
        following = _begin_generation(authority, reason[:200])
    emit({"generation": following}, as_json, lambda _: click.echo(f"generation {following} begins"))


def _begin_generation(authority: Any, reason: str) -> int:
    from authority.keys import fencing
    from authority.service import keep_house

    rt = authority.runtime
    following: int = rt.generation + 1
    authority.store.run(lambda conn: fencing.begin_generation(conn, following, reason, _ACTOR, rt.now()))
    rt.generation = following
    authority.store.run(lambda conn: fencing.renew_all(conn, rt, rt.now()))
    authority.store.run(lambda conn: keep_house(conn, authority))
    return following


@contextmanager
def _stopped(state: Path, choose: Any = None) -> Iterator[Any]:
    """The authority of a state folder, opened by this command alone."""
    from authority.config import load_site
    from authority.keys import KekError
    from authority.service import open_authority, sole_use

    site = load_site(state)
    try:
        with sole_use(site):
            authority = open_authority(site) if choose is None else open_authority(site, choose=choose)
            try:
                yield authority
            finally:
                authority.store.close()
    except KekError as error:
        raise CommandFailed(str(error), error.remedy) from None
