"""Where the parts of sealed profiles lie, and which versions of one there are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agent.durable import read_struct, remove
from agent.errors import ProfileError, StateError
from agent.profile._record import NONCE_BYTES, RECORD_VERSION, RecordFile, RecordHeader
from protocol.codec import ProtocolViolation, decode

_RECORD_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_VERSIONED = re.compile(r"(?P<record>[a-z0-9][a-z0-9-]{0,63})\.(?P<share>[0-9]{1,19})\.record")
OTHER_VERSION = "Enrol this administrator again: what an earlier version of Keyvigil sealed is not read any more."


@dataclass(frozen=True)
class ProfileFiles:
    """The files of all profiles in one folder: `RECORD.SHARE.record`, `RECORD.SHARE.past`, `RECORD.counter`."""

    folder: Path

    def record(self, record_id: str, share: int) -> Path:
        """The sealed record that the release share of this number opens."""
        return self.folder / f"{checked(record_id)}.{share}.record"

    def past(self, record_id: str, share: int) -> Path:
        """The sealed digests beside it."""
        return self.folder / f"{checked(record_id)}.{share}.past"

    def counter(self, record_id: str) -> Path:
        """The number of the last evidence."""
        return self.folder / f"{checked(record_id)}.counter"

    def shares(self, record_id: str) -> list[int]:
        """Numbers of the versions that there are, the newest first."""
        checked(record_id)
        found = (_VERSIONED.fullmatch(path.name) for path in self.folder.glob(f"{record_id}.*.record"))
        return sorted((int(one["share"]) for one in found if one and one["record"] == record_id), reverse=True)

    def records(self) -> list[str]:
        """Ids of every profile, those that an earlier version of Keyvigil sealed included."""
        return sorted({path.name.split(".", 1)[0] for path in self.folder.glob("[!.]*.record")})

    def read(self, record_id: str, share: int) -> tuple[RecordFile, RecordHeader]:
        """One version; raises `ProfileError` for one that is damaged, of another form, or under another's name."""
        path = self.record(record_id, share)
        try:
            record = read_struct(path, RecordFile)
            if record is None:
                raise ProfileError("there is no sealed profile with this record id on this node")
            header = decode(record.header, RecordHeader)
        except (StateError, ProtocolViolation):
            raise ProfileError(f"the sealed profile {path.name} is damaged, or of another version") from None
        if header.version != RECORD_VERSION or len(record.nonce) != NONCE_BYTES:
            raise ProfileError(f"the sealed profile {path.name} is of another version", remedy=OTHER_VERSION)
        if (header.record_id, header.share) != (record_id, share):
            raise ProfileError("the sealed profile is of another record")
        return record, header

    def newest(self, record_id: str) -> tuple[RecordFile, RecordHeader]:
        """The newest version; raises `ProfileError`."""
        shares = self.shares(record_id)
        if not shares and (self.folder / f"{record_id}.record").exists():
            raise ProfileError("the sealed profile is of another version", remedy=OTHER_VERSION)
        if not shares:
            raise ProfileError("there is no sealed profile with this record id on this node")
        return self.read(record_id, shares[0])

    def keep_only(self, record_id: str, share: int) -> None:
        """Remove every version but one, durably: records first, for without one its past is of no use."""
        for suffix in ("record", "past"):
            for path in sorted(self.folder.glob(f"{checked(record_id)}.*.{suffix}")):
                if path.name != f"{record_id}.{share}.{suffix}":
                    remove(path)

    def discard(self, record_id: str) -> None:
        """Remove everything of a profile, and what a crash left half-written of it."""
        checked(record_id)
        for pattern in (f"{record_id}.*", f".{record_id}.*.new"):
            for path in sorted(self.folder.glob(pattern)):
                remove(path)


def checked(record_id: str) -> str:
    """The record id; raises `ProtocolViolation` for one that could be a path."""
    if _RECORD_ID.fullmatch(record_id) is None:
        raise ProtocolViolation("a record id of the authority has foreign characters")
    return record_id
