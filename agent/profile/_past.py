"""Digests of a person's earlier captures: sealed beside their profile, a bounded number, under a key of its own.

The file holds the number of the last evidence, at least what the profile's counter says; the next has one more. An
older copy put back alone falls behind the counter and is refused; put back together with an older counter, the next
evidence repeats a number that the authority has seen, and is refused there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agent.durable import read_struct, write_private
from agent.errors import ProfileError, StateError
from agent.hardening import wipe
from agent.profile._record import NONCE_BYTES
from protocol.codec import encode, length_prefixed

RING: Final = 200
"""Captures of each modality that are remembered; the oldest give way."""

PAST_FORM: Final = 1
Past = Mapping[str, Sequence[bytes]]
"""Digests by modality, the oldest first."""


class PastFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: form, number of the last evidence, AES-GCM nonce (12 bytes), ciphertext with tag."""

    form: int
    number: int
    nonce: bytes
    ciphertext: bytes


def past_key(header: bytes, pepper: bytes, release_share: bytes) -> bytes:
    """HKDF-SHA256 of what opens the record, under a label of its own; `header` are the record's exact bytes."""
    material = bytearray(pepper + release_share)
    try:
        info = length_prefixed("keyvigil/past/1", header)
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(material)
    finally:
        wipe(material)


def joined(past: Past, new: Past) -> dict[str, list[bytes]]:
    """The last `RING` of each modality."""
    return {name: [*past.get(name, ()), *new.get(name, ())][-RING:] for name in sorted({*past, *new})}


def write_past(path: Path, key: bytes, nonce: bytes, number: int, past: Past) -> None:
    """Replace the file durably; raises `StateError`."""
    plaintext = bytearray(msgspec.msgpack.encode(past))
    try:
        sealed = AESGCM(key).encrypt(nonce, plaintext, _bound(number))
        write_private(path, encode(PastFile(PAST_FORM, number, nonce, sealed)))
    finally:
        wipe(plaintext)


def read_past(path: Path, key: bytes, counter: int) -> tuple[int, dict[str, list[bytes]]]:
    """Number and digests; raises `ProfileError` for a file that is missing, damaged, foreign or behind `counter`."""
    try:
        found = read_struct(path, PastFile)
    except StateError:
        raise ProfileError("what is remembered of earlier presentations is damaged") from None
    if found is None:
        raise ProfileError("what is remembered of earlier presentations is missing")
    if found.form != PAST_FORM or len(found.nonce) != NONCE_BYTES:
        raise ProfileError("what is remembered of earlier presentations is of another version")
    try:
        plaintext = AESGCM(key).decrypt(found.nonce, found.ciphertext, _bound(found.number))
        past = msgspec.msgpack.decode(plaintext, type=dict[str, list[bytes]])
    except (InvalidTag, ValueError):
        raise ProfileError("what is remembered of earlier presentations was changed, or is of another record") from None
    if found.number < counter:
        raise ProfileError("what is remembered of earlier presentations is an older copy")
    return found.number, past


def _bound(number: int) -> bytes:
    return length_prefixed("keyvigil/past-number/1", str(number).encode())
