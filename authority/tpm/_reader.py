"""Reading TPM structures, big-endian but for event logs and files of tools, from bytes that nobody vouches for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

Value = TypeVar("Value")


class TpmFormatError(ValueError):
    """Bytes that are not the TPM structure they are given as."""


class Reader:
    """Consumes `data` from the front; whatever is missing, too long or left over raises `TpmFormatError`."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = bytes(data)
        self._at = 0
        self._what = what

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise TpmFormatError(f"{self._what}: cut off after {len(self._data)} bytes")
        part, self._at = self._data[self._at : end], end
        return part

    def uint(self, size: int, order: Literal["big", "little"] = "big") -> int:
        """An unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), order)

    @property
    def left(self) -> int:
        """How many bytes are not consumed yet."""
        return len(self._data) - self._at

    def sized(self, limit: int) -> bytes:
        """A TPM2B: two bytes of length, at most `limit`, and so many bytes."""
        size = self.uint(2)
        if size > limit:
            raise TpmFormatError(f"{self._what}: a field of {size} bytes, at most {limit} are allowed")
        return self.take(size)

    def one_of(self, size: int, kind: Callable[[int], Value]) -> Value:
        """A constant of `size` bytes that `kind` knows."""
        value = self.uint(size)
        try:
            return kind(value)
        except ValueError:
            raise TpmFormatError(f"{self._what}: unknown constant 0x{value:x}") from None

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise TpmFormatError(f"{self._what}: {len(self._data) - self._at} bytes too many")
