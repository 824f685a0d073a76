"""What a backup holds: a list of files with their digests, then the files one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from authority.backup.container import Reader, Writer
from authority.backup.refused import BackupError

VERSION = 1
LONGEST_LIST = 16 * 2**20
_BLOCK = 1 << 20
_NAME = r"\A(?!\.)[A-Za-z0-9._@+-]{1,200}(/(?!\.)[A-Za-z0-9._@+-]{1,200})?\Z"
Sink = Callable[[bytes], object]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file, at most one folder deep."""

    name: Annotated[str, msgspec.Meta(pattern=_NAME)]
    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`made_by` is the version of Keyvigil; `generation` and `log_size` are those of the database."""

    version: int
    made_by: str
    made_at: float
    generation: int
    log_size: int
    files: list[Entry]


def entry(name: str, file: Path) -> Entry:
    """The entry of a file as it is now; raises `BackupError` for a name that no backup takes."""
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    try:
        return msgspec.convert({"name": name, "size": size, "sha256": digest.hexdigest()}, Entry)
    except msgspec.ValidationError:
        raise BackupError(
            f"{file} has a name that no backup takes", "Rename it: letters, digits and . _ @ + -"
        ) from None


def write(writer: Writer, manifest: Manifest, files: Sequence[Path]) -> None:
    """The archive; `files` in the order of the manifest. Raises `BackupError` when one changed meanwhile."""
    listed = msgspec.json.encode(manifest)
    writer.write(len(listed).to_bytes(4, "big") + listed)
    for each, file in zip(manifest.files, files, strict=True):
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
                writer.write(block)
        if digest.hexdigest() != each.sha256:
            raise BackupError(f"{file} changed while it was copied", "Make the backup again.")
    writer.finish()


def read(reader: Reader, place: Callable[[Entry], Sink]) -> Manifest:
    """Hand every file's content to what `place` gives for it; raises `BackupError` unless all of it holds."""
    length = int.from_bytes(reader.read(4), "big")
    if length > LONGEST_LIST:
        raise BackupError("the backup's list is too long", "Use another backup.")
    try:
        manifest = msgspec.json.decode(reader.read(length), type=Manifest)
    except msgspec.DecodeError:
        raise BackupError("the backup's list cannot be read", "Restore it with the version that made it.") from None
    if manifest.version != VERSION or len({each.name for each in manifest.files}) != len(manifest.files):
        raise BackupError("the backup is of another version", "Restore it with the version that made it.")
    for each in manifest.files:
        _read_file(reader, each, place(each))
    reader.finish()
    return manifest


def _read_file(reader: Reader, each: Entry, sink: Sink) -> None:
    digest, left = hashlib.sha256(), each.size
    while left:
        block = reader.read(min(_BLOCK, left))
        digest.update(block)
        sink(block)
        left -= len(block)
    if digest.hexdigest() != each.sha256:
        raise BackupError(f"{each.name} is damaged in the backup", "Use another backup.")
