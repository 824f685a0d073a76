"""Bytes on the wire: strict JSON, base64url, and the length-prefixed form that is hashed and signed."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class ProtocolViolation(ValueError):
    """Bytes from the other side that the contract does not allow."""


def encode(message: object) -> bytes:
    """Deterministic JSON (sorted keys) of a message struct; `bytes` fields become base64."""
    return msgspec.json.encode(msgspec.to_builtins(message, str_keys=True), order="sorted")


def decode(data: bytes | str, kind: type[T]) -> T:
    """The message in `data`; raises `ProtocolViolation` on anything but exactly a `kind`."""
    try:
        return msgspec.json.decode(data, type=kind, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolViolation(f"not a valid {getattr(kind, '__name__', 'message')}: {error}") from None


def decode_event(data: bytes | str, kind: Any) -> Any:
    """As `decode`, for a tagged union of structs."""
    return decode(data, kind)


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 4648 §5, RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    """Inverse of `b64url`; refuses padding, foreign characters and non-canonical endings."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolViolation("not base64url") from None
    if b64url(data) != text:
        raise ProtocolViolation("not canonical base64url")
    return data


def length_prefixed(*parts: bytes | str | int) -> bytes:
    """Every part behind its length as a big-endian u32, so that no two lists of parts give the same bytes.

    Text is UTF-8; an integer is a big-endian u64, and `ProtocolViolation` is raised for one that does not fit.
    """
    out = bytearray()
    for part in parts:
        raw = _u64(part) if isinstance(part, int) else part.encode() if isinstance(part, str) else part
        out += len(raw).to_bytes(4, "big") + raw
    return bytes(out)


def _u64(number: int) -> bytes:
    try:
        return number.to_bytes(8, "big")
    except OverflowError:
        raise ProtocolViolation("a number does not fit into 64 bits") from None


def transcript(label: str, *parts: bytes | str | int) -> bytes:
    """SHA-256 over the length-prefixed `label` and parts: the 32 bytes that a quote or certification carries."""
    return hashlib.sha256(length_prefixed(label, *parts)).digest()
