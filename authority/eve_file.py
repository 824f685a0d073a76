"""Lines of a file that somebody else writes and rotates: each once, whole, and from where the last run stopped."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

_CHUNK = 64 * 1024


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where reading goes on: which file (device, inode), and the offset of the first line that was not taken."""

    device: int = 0
    inode: int = 0
    offset: int = 0


class LineFile:
    """Follows `path` through rotation: a renamed file is read to its end first, a truncated one from its beginning.

    A line longer than `longest` bytes is given as its first `longest + 1`, and the rest of it passed over.
    """

    def __init__(self, path: Path, longest: int, position: Position | None = None) -> None:
        self._path = path
        self._longest = longest
        self._position = position or Position()
        self._file: BinaryIO | None = None
        self._partial = bytearray()
        self._pending = 0

    @property
    def position(self) -> Position:
        """Behind the last line that was given."""
        return self._position

    def lines(self) -> Iterator[bytes]:
        """Every whole line that is there now, without its end; raises `OSError`."""
        if self._file is None and not self._open():
            return
        yield from self._read()
        while self._replaced():
            self.close()
            if self._open():
                yield from self._read()

    def close(self) -> None:
        """Close the file; a line that had no end yet is read again by whoever goes on from the position."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._partial.clear()
        self._pending = 0

    def _open(self) -> bool:
        """Open what the last run left unfinished under another name, else the file itself."""
        path = self._renamed() or self._path
        try:
            self._file = path.open("rb")
        except FileNotFoundError:
            return False
        found = os.fstat(self._file.fileno())
        same = _identity(found) == (self._position.device, self._position.inode)
        start = self._position.offset if same and self._position.offset <= found.st_size else 0
        self._file.seek(start)
        self._position = Position(found.st_dev, found.st_ino, start)
        return True

    def _renamed(self) -> Path | None:
        wanted = self._position
        for path in sorted(self._path.parent.glob(f"{glob.escape(self._path.name)}?*")):
            found = path.stat()
            if _identity(found) == (wanted.device, wanted.inode) and found.st_size > wanted.offset:
                return path
        return None

    def _replaced(self) -> bool:
        """Whether another file has this name now, or this one was emptied."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        if _identity(found) != (self._position.device, self._position.inode):
            self._position = Position()
            return True
        if found.st_size < self._position.offset:
            self._position = Position(found.st_dev, found.st_ino, 0)
            return True
        return False

    def _read(self) -> Iterator[bytes]:
        assert self._file is not None
        while chunk := self._file.read(_CHUNK):
            for part in chunk.splitlines(keepends=True):
                yield from self._take(part)

    def _take(self, part: bytes) -> Iterator[bytes]:
        """Bytes that end a line count into the position; others wait for the rest."""
        self._partial += part[: self._longest + 1 - len(self._partial)]
        self._pending += len(part)
        if not part.endswith(b"\n"):
            return
        at, line = self._position, bytes(self._partial).rstrip(b"\r\n")
        self._position = Position(at.device, at.inode, at.offset + self._pending)
        self._partial.clear()
        self._pending = 0
        if line:
            yield line


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
