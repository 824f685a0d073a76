"""What the sink must remember and the kernel does not: which keys were ever sent under, and the networks' names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from agent.durable import PRIVATE_FILE, private_directory, read_bytes, read_struct, storage_error, write_private
from agent.errors import StateError
from protocol.codec import encode

_KEEP_S = 30 * 86_400
"""How long after its lease a key is remembered; its delivery is refused as a replay by then."""
_MARK_BYTES = 16
_LINE_BYTES = 2 * _MARK_BYTES + 1 + 12 + 1
_LARGEST = 256 * 1024 * 1024
_FEW = 1000


class NetworkNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was installed last: versions and the end of the lease."""

    reqid: int
    versions: list[int]
    expires_at: float


class Notes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of `networks.json`."""

    version: int = 1
    networks: dict[str, NetworkNote] = {}


class Ledger:
    """Files of mode 0600 in a folder of mode 0700; neither holds a secret.

    `used` has a line for every key that was ever given to the kernel to send under: its fingerprint, and when its lease
    ends.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes = folder / "networks.json"
        self._used_path = folder / "used"
        self._used: dict[bytes, int] | None = None

    def used(self) -> dict[bytes, int]:
        """Ends of leases by fingerprint; raises `StateError`."""
        if self._used is None:
            self._used = _parse(self._used_path, read_bytes(self._used_path, _LARGEST) or b"")
        return self._used

    def record(self, marks: Iterable[bytes], expires_at: float, now: float) -> None:
        """Remember keys durably; raises `StateError`, after which none of them may be used."""
        known, end = self.used(), min(int(expires_at) + 1, 10**12 - 1)
        fresh = [mark for mark in marks if mark not in known or known[mark] < end - _KEEP_S // 2]
        if not fresh:
            return
        self._make_room(now)
        data = b"".join(_line(mark, end) for mark in fresh)
        _append(self._used_path, data)
        known.update(dict.fromkeys(fresh, end))

    def notes(self) -> dict[str, NetworkNote]:
        """Notes by network; raises `StateError`."""
        found = read_struct(self._notes, Notes)
        return {} if found is None else dict(found.networks)

    def note(self, network: str, note: NetworkNote | None) -> None:
        """Write a network's note, or end it; raises `StateError`."""
        notes = self.notes()
        if notes.get(network) == note:
            return
        notes.pop(network, None)
        if note is not None:
            notes[network] = note
        write_private(self._folder_made() / self._notes.name, encode(Notes(networks=notes)))

    def _folder_made(self) -> Path:
        return private_directory(self._folder)

    def _make_room(self, now: float) -> None:
        """Forget keys whose leases ended long ago, once they are most of the file; cut a line that a crash tore."""
        self._folder_made()
        known = self.used()
        alive = {mark: end for mark, end in known.items() if end + _KEEP_S > now}
        size = self._used_path.stat().st_size if self._used_path.exists() else 0
        if size % _LINE_BYTES or size > _LINE_BYTES * (2 * len(alive) + _FEW):
            write_private(self._used_path, b"".join(_line(mark, end) for mark, end in alive.items()))
            known.clear()
            known.update(alive)


def _line(mark: bytes, end: int) -> bytes:
    return f"{mark.hex()} {end:012d}\n".encode()


def _parse(path: Path, data: bytes) -> dict[bytes, int]:
    """Whole lines; a torn last one was never used, because its write did not end. Raises `StateError`."""
    found = {}
    for at in range(0, len(data) - len(data) % _LINE_BYTES, _LINE_BYTES):
        line = data[at : at + _LINE_BYTES]
        try:
            mark, end = line.decode("ascii").split()
            found[bytes.fromhex(mark)] = int(end)
        except ValueError:
            raise StateError(
                f"{path} is damaged",
                remedy="Have the authority rotate this node's keys, then move the file away: no old key may return.",
            ) from None
    return found


def _append(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
        with os.fdopen(descriptor, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(path, error) from None
