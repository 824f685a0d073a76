"""The framing of sealed blobs. Pure: nothing here talks to a TPM."""

from __future__ import annotations

from dataclasses import dataclass, field

from hal import AuthorisationFailed, PcrSelection, SealAuthority

_MAGIC = b"KVT2SEAL"
_TO_VALUES, _TO_APPROVAL = 1, 2
_NAME_BYTES = 34
_POINT_BYTES = 65
_REFERENCE_BYTES = 32
_LABEL_BYTES = 32


@dataclass(frozen=True)
class SealedBlob:
    """What unsealing needs: whom or what it is bound to, the Name of the storage root, the sealed object.

    On disk: magic `KVT2SEAL`, version (1 byte), binding, root Name (34), then public and private area, each with a
    2-byte big-endian length, and nothing after. The binding of version 1 is a PCR bitmap (3 bytes, bit 0 of byte 0 is
    PCR 0); that of version 2 the authority's point (65), and its reference and floor, each with a 1-byte length.
    """

    selection: PcrSelection
    root: bytes
    public: bytes
    private: bytes = field(repr=False)
    authority: SealAuthority | None = None

    def pack(self) -> bytes:
        """The blob as bytes."""
        if self.authority is None:
            version, binding = _TO_VALUES, sum(1 << index for index in self.selection).to_bytes(3, "little")
        else:
            version, binding = _TO_APPROVAL, self.authority.key
            for part in (self.authority.reference, self.authority.floor.encode()):
                binding += len(part).to_bytes(1, "big") + part
        areas = b"".join(len(area).to_bytes(2, "big") + area for area in (self.public, self.private))
        return _MAGIC + bytes([version]) + binding + self.root + areas

    @classmethod
    def unpack(cls, blob: bytes) -> SealedBlob:
        """The parts of `blob`; raises `AuthorisationFailed` for anything else than the output of `pack`."""
        reader = _Reader(blob)
        selection: PcrSelection = ()
        authority: SealAuthority | None = None
        match reader.take(len(_MAGIC)), reader.take(1)[0]:
            case (magic, version) if magic == _MAGIC and version == _TO_VALUES:
                bits = int.from_bytes(reader.take(3), "little")
                selection = tuple(index for index in range(24) if bits >> index & 1)
            case (magic, version) if magic == _MAGIC and version == _TO_APPROVAL:
                key = reader.take(_POINT_BYTES)
                reference = reader.sized(1, _REFERENCE_BYTES)
                authority = SealAuthority(key, reference, _text(reader.sized(1, _LABEL_BYTES)))
            case _:
                raise AuthorisationFailed("not a blob that a TPM of this driver sealed")
        root = reader.take(_NAME_BYTES)
        areas = [reader.sized(2, 0xFFFF) for _ in range(2)]
        reader.end()
        return cls(selection, root, areas[0], areas[1], authority)


class _Reader:
    """Consumes a blob from the front; raises `AuthorisationFailed` for what is missing or left over."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self._at = 0

    def take(self, count: int) -> bytes:
        part = self._blob[self._at : self._at + count]
        if len(part) != count:
            raise _damaged()
        self._at += count
        return part

    def sized(self, size: int, limit: int) -> bytes:
        count = int.from_bytes(self.take(size), "big")
        if count > limit:
            raise _damaged()
        return self.take(count)

    def end(self) -> None:
        if self._at != len(self._blob):
            raise _damaged()


def _text(raw: bytes) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise _damaged() from None


def _damaged() -> AuthorisationFailed:
    return AuthorisationFailed("the sealed blob is damaged")
