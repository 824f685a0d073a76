"""Nothing of a sealed stream can be changed, moved or cut off unseen; only the right lock opens it."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from authority.backup import BackupError, KeyLock, Lock, PassphraseLock
from authority.backup.archive import Entry, Manifest, read
from authority.backup.container import CHUNK, MAGIC, Reader, Writer

SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK)
TAG = 16


def pair() -> KeyLock:
    key = ec.generate_private_key(ec.SECP256R1())
    return KeyLock(key.public_key(), key)


LOCK = pair()


def sealed(content: bytes, lock: Lock = LOCK) -> bytes:
    stream = io.BytesIO()
    writer = Writer(stream, lock, 1.0, os.urandom)
    for at in range(0, len(content), 50_000):
        writer.write(content[at : at + 50_000])
    writer.finish()
    return stream.getvalue()


def opened(data: bytes, size: int, lock: Lock = LOCK) -> bytes:
    reader = Reader(io.BytesIO(data), lock.open)
    content = reader.read(size)
    reader.finish()
    return content


@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_comes_back(size: int) -> None:
    content = os.urandom(size)
    assert opened(sealed(content), size) == content


def test_a_passphrase_opens_what_was_made_for_it() -> None:
    lock = PassphraseLock(b"a long enough passphrase", cost=10)
    assert opened(sealed(b"x", lock), 1, lock) == b"x"
    with pytest.raises(BackupError, match="does not open with this passphrase"):
        opened(sealed(b"x", lock), 1, PassphraseLock(b"another passphrase", cost=10))


def test_another_key_opens_nothing() -> None:
    with pytest.raises(BackupError, match="somebody else"):
        opened(sealed(b"x"), 1, pair())
    with pytest.raises(BackupError, match="made for a key"):
        opened(sealed(b"x"), 1, PassphraseLock(b"a long enough passphrase"))
    with pytest.raises(BackupError, match="public key opens no backup"):
        opened(sealed(b"x"), 1, KeyLock(LOCK.public))


def test_no_byte_can_be_changed() -> None:
    content = os.urandom(2 * CHUNK + 100)
    whole = sealed(content)
    body = len(whole) - (2 * CHUNK + 100 + 3 * TAG)
    places = [*range(body), body, body + CHUNK, body + CHUNK + TAG, len(whole) - TAG - 1, len(whole) - 1]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1
        with pytest.raises(BackupError):
            opened(bytes(changed), len(content))


def test_chunks_cannot_be_cut_off_moved_doubled_or_added() -> None:
    content = os.urandom(3 * CHUNK)
    whole = sealed(content)
    step = CHUNK + TAG
    head, chunks = whole[: -3 * step], [whole[len(whole) - n * step :][:step] for n in (3, 2, 1)]
    assert head + b"".join(chunks) == whole
    first, second, third = chunks
    for order in (
        [first, second],
        [second, first, third],
        [first, third],
        [first, first, second, third],
        [*chunks, third],
    ):
        with pytest.raises(BackupError, match="damaged"):
            opened(head + b"".join(order), len(content))
    for tail in (b"\0", whole[-1:], whole):
        with pytest.raises(BackupError):
            opened(whole + tail, len(content))
    for length in range(0, len(head) + 10, 7):
        with pytest.raises(BackupError):
            opened(whole[:length], len(content))


def test_a_reader_that_wants_less_than_there_is_says_so() -> None:
    with pytest.raises(BackupError, match="damaged"):
        opened(sealed(b"xy"), 1)
    with pytest.raises(BackupError, match="damaged"):
        opened(sealed(b"xy"), 3)


def test_a_head_that_asks_for_much_memory_is_refused() -> None:
    costly = MAGIC + (2**31).to_bytes(4, "big")
    with pytest.raises(BackupError):
        Reader(io.BytesIO(costly + b"{}"), LOCK.open)
    head = b'{"made_at":1.0,"sealed":{"kind":"passphrase","wrapped":"","salt":"","cost":30}}'
    with pytest.raises(BackupError, match="damaged"):
        Reader(io.BytesIO(MAGIC + len(head).to_bytes(4, "big") + head), PassphraseLock(b"x" * 16).open)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b/c", ".hidden", "a/../b", "a/.b", "", "a\n", "a" * 201, "ca/"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    """Whoever has the recipient's public key can make a backup: its names are hostile input."""
    listed = msgspec.json.encode(Manifest(1, "0", 1.0, 1, 0, [Entry(name, 1, hashlib.sha256(b"x").hexdigest())]))
    stream = io.BytesIO()
    writer = Writer(stream, LOCK, 1.0, os.urandom)
    writer.write(len(listed).to_bytes(4, "big") + listed + b"x")
    writer.finish()
    placed: list[str] = []
    with pytest.raises(BackupError):
        read(
            Reader(io.BytesIO(stream.getvalue()), LOCK.open), lambda each: placed.append(each.name) or (lambda _: None)
        )
    assert placed == []


def test_keys_are_read_from_files_and_secret_ones_only_if_nobody_else_can(tmp_path: Path) -> None:
    private = LOCK.private
    assert private is not None
    secret, public = tmp_path / "s.pem", tmp_path / "p.pem"
    secret.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(LOCK.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    secret.chmod(0o644)
    with pytest.raises(BackupError, match="open to others"):
        KeyLock.of_file(secret)
    secret.chmod(0o600)
    assert opened(sealed(b"x", KeyLock.of_file(public)), 1, KeyLock.of_file(secret)) == b"x"
    word = tmp_path / "w"
    word.write_text("short\n")
    word.chmod(0o600)
    with pytest.raises(BackupError, match="less than 16 bytes"):
        PassphraseLock.of_file(word)
    with pytest.raises(BackupError, match="no key in PEM"):
        KeyLock.of_file(word)
    assert "short" not in repr(PassphraseLock(b"short")) and "private" not in repr(LOCK)
