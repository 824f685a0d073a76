"""Kinds of key-encryption keys that need nothing but files: a 0600 file, and a systemd credential."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from authority.keys.kek import AesKek, FileKek, KekError, KekProvider, overwrite_and_remove, read_key

KEK_GROUP = "keyvigil.kek_providers"
"""The entry-point group in which a package offers kinds; an entry point names a `KekKind` class without arguments."""

LIST = "keks.json"
FIRST_FILE = "kek.key"
"""The first key of an authority, which is the only one that needs no list."""

Description = dict[str, str]
Random = Callable[[int], bytes]
_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class KekKind(Protocol):
    """How keys of one kind are made, opened and destroyed.

    `create` gives a description, without a secret, that the other two take. A package that cannot import this one may
    give the 32 bytes of the key in place of a provider, and raise errors of its own with a `remedy`.
    """

    warning: str
    """What an operator has to know who chooses this kind; empty where there is nothing."""

    def create(self, folder: Path, options: Mapping[str, str], random: Random) -> Description:
        """A new key, durable before this returns; what belongs to it may lie in `folder`. Raises `KekError`."""
        ...

    def open(self, folder: Path, description: Mapping[str, str], random: Random) -> KekProvider | bytes:
        """The key; raises `KekError` when it is not to be had."""
        ...

    def destroy(self, folder: Path, description: Mapping[str, str]) -> None:
        """Make the key unusable for ever; nothing where it is gone already. Raises `KekError` when this cannot be."""
        ...


class FileKind:
    """A file of mode 0600 in the state folder."""

    warning = FileKek.WARNING

    def create(self, folder: Path, options: Mapping[str, str], random: Random) -> Description:
        """A new file under a name that none had before."""
        refuse_unknown("file", options, ())
        first = not (folder / LIST).exists() and not (folder / FIRST_FILE).exists()
        name = FIRST_FILE if first else f"kek-{random(8).hex()}.key"
        FileKek.create(folder / name, random)
        return {"file": name}

    def open(self, folder: Path, description: Mapping[str, str], random: Random) -> KekProvider:
        """The key in the file."""
        return FileKek.open(self._path(folder, description), random)

    def destroy(self, folder: Path, description: Mapping[str, str]) -> None:
        """Overwritten in place and removed; what a file system keeps elsewhere of a file is not reached."""
        try:
            overwrite_and_remove(self._path(folder, description))
        except OSError as error:
            raise KekError(f"the key file cannot be destroyed: {error.strerror}", "Check the state folder.") from None

    @staticmethod
    def _path(folder: Path, description: Mapping[str, str]) -> Path:
        return folder / Path(description.get("file", "")).name


class CredentialKind:
    """A credential that systemd decrypts for the service (systemd.exec(5), LoadCredentialEncrypted=).

    It is made, and destroyed, with `systemd-creds`, as docs/keys.md says: here it is only read.
    """

    warning = ""

    def create(self, folder: Path, options: Mapping[str, str], random: Random) -> Description:
        """The credential named by the option `name`, which has to be there."""
        refuse_unknown("credential", options, ("name",))
        description = {"name": options.get("name", "keyvigil-kek")}
        self.open(folder, description, random)
        return description

    def open(self, folder: Path, description: Mapping[str, str], random: Random) -> KekProvider:
        """The key in the credential: 32 bytes."""
        del folder
        return AesKek(read_key(self._path(description)), random, "credential")

    def destroy(self, folder: Path, description: Mapping[str, str]) -> None:
        """Only the administrator of the host can do it: refused until the credential is gone."""
        del folder
        if self._path(description).exists():
            raise KekError(
                "systemd still gives this credential to the service",
                "Remove LoadCredentialEncrypted= and shred the encrypted file, restart, and run this again.",
            )

    @staticmethod
    def _path(description: Mapping[str, str]) -> Path:
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        name = description.get("name", "")
        if not folder:
            raise KekError(
                "systemd gives this process no credentials: CREDENTIALS_DIRECTORY is not set",
                "Run it as a service with LoadCredentialEncrypted=, or by `systemd-run -p LoadCredentialEncrypted=…`.",
            )
        if not _CREDENTIAL.fullmatch(name):
            raise KekError("a credential's name has letters, digits, dots and dashes", "Give it as `name=…`.")
        return Path(folder) / name


def kind_of(name: str) -> KekKind:
    """The installed kind of this name; raises `KekError`."""
    points = [*entry_points(group=KEK_GROUP, name=name)]
    if len(points) != 1:
        known = ", ".join(sorted({point.name for point in entry_points(group=KEK_GROUP)}))
        raise KekError(f"{len(points)} installed kinds of key-encryption keys are named {name!r}", f"Use one: {known}.")
    try:
        kind: KekKind = points[0].load()()
    except ImportError as error:
        raise KekError(
            f"{name} needs the package {error.name}", f"Install it: pip install 'keyvigil[{name}]'."
        ) from None
    return kind


def refuse_unknown(kind: str, options: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Raise `KekError` for an option that the kind does not have."""
    foreign = sorted({*options} - {*known})
    if foreign:
        listed = ", ".join(known) or "it takes none"
        raise KekError(f"{kind} has no option {foreign[0]!r}", f"Its options: {listed}.")
