"""The public point of an enclave key: a TPM's is read out of its TPM2B_PUBLIC (TPM 2.0 Library, Part 2, 12.2)."""

from __future__ import annotations

from agent.errors import StateError

_ECC, _P256, _NULL = 0x0023, 0x0003, 0x0010
_POINT_BYTES = 65


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise ValueError("truncated")
        self._at += count
        return part

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def sized(self) -> bytes:
        return self.take(self.u16())

    def optional(self, count: int) -> None:
        """An algorithm id, and `count` bytes of its details unless it is TPM_ALG_NULL."""
        if self.u16() != _NULL:
            self.take(count)


def uncompressed_point(public: bytes) -> bytes:
    """65 bytes 04 ‖ x ‖ y of a P-256 key in TPM2B_PUBLIC; raises `StateError` for anything else.

    Other enclaves give the point itself; a TPM2B_PUBLIC that begins with 04 would be longer than a kilobyte.
    """
    if len(public) == _POINT_BYTES and public[0] == 4:
        return public
    try:
        return _point(_Reader(_Reader(public).sized()))
    except ValueError:
        raise StateError("the delivery key on disk is damaged", remedy="Join again with --rejoin.") from None


def _point(area: _Reader) -> bytes:
    if area.u16() != _ECC:
        raise ValueError("not an elliptic-curve key")
    area.take(2 + 4)
    area.sized()
    area.optional(4)
    area.optional(2)
    if area.u16() != _P256:
        raise ValueError("another curve")
    area.optional(2)
    x, y = area.sized(), area.sized()
    if max(len(x), len(y)) > 32:
        raise ValueError("coordinates too long")
    return b"\x04" + x.rjust(32, b"\0") + y.rjust(32, b"\0")
