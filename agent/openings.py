"""Openings of commitments that this node keeps for a while: sealed, one file a presentation, gone when its window ends.

Each file has a key of its own, sealed by the enclave in the machine's present state; its header is authenticated beside
the ciphertext. The name says when the window ends, so that whatever a crash leaves, half-written files included, is
found and removed without opening anything.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.durable import read_struct, remove, write_private
from agent.errors import OpeningUnavailable, StateError
from agent.hardening import wipe
from agent.log import event
from hal import AuthorisationFailed, Enclave, PcrSelection
from protocol.codec import ProtocolViolation, decode, encode
from protocol.openings import Opening

FORM = 1
KEY_BYTES = 32
NONCE_BYTES = 12
CLOCK_SLACK_S = 60
"""An opening that claims to be made later than this from now was made before the clock went back, and is removed."""
_NAME = re.compile(
    r"\.?(?P<record>[a-z0-9][a-z0-9-]{0,63})\.(?P<challenge>[A-Za-z0-9_-]{1,64})"
    r"\.(?P<made>[0-9]{1,12})\.(?P<until>[0-9]{1,12})\.opening(?:\.new)?"
)


@dataclass(frozen=True)
class KeptOpening:
    """One file: whose presentation, and from when to when (POSIX seconds, whole) it is kept."""

    path: Path
    record_id: str
    challenge_id: str
    made_at: int
    until: int

    def over(self, now: float) -> bool:
        """Whether the window has ended, or the clock that would tell went back behind its beginning."""
        return now >= self.until or self.made_at > now + CLOCK_SLACK_S


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file says in clear; its exact bytes are the associated data of the encryption."""

    form: int
    node_id: str
    record_id: str
    challenge_id: str
    made_at: int
    until: int
    sealed_key: bytes


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Encoded header, AES-GCM nonce (12 bytes), ciphertext with tag."""

    header: bytes
    nonce: bytes
    ciphertext: bytes


@dataclass(frozen=True)
class OpeningStore:
    """The openings in one folder; `random` gives that many fresh bytes, `now` POSIX seconds."""

    folder: Path
    random: Callable[[int], bytes] = field(repr=False)
    now: Callable[[], float]

    def keep(self, enclave: Enclave, selection: PcrSelection, openings: Sequence[Opening], window_s: float) -> None:
        """Seal the openings of one presentation until `window_s` from now; raises `StateError`, `DeviceError`."""
        first, made_at = openings[0], int(self.now())
        key = bytearray(self.random(KEY_BYTES))
        plaintext = bytearray(encode(list(openings)))
        try:
            header = _Header(
                form=FORM,
                node_id=first.node_id,
                record_id=first.record_id,
                challenge_id=first.challenge_id,
                made_at=made_at,
                until=made_at + int(window_s),
                sealed_key=enclave.seal(bytes(key), selection),
            )
            clear, nonce = encode(header), self.random(NONCE_BYTES)
            sealed = _File(clear, nonce, AESGCM(bytes(key)).encrypt(nonce, plaintext, clear))
            write_private(self._path(header), encode(sealed))
        finally:
            wipe(key)
            wipe(plaintext)

    def kept(self) -> list[KeptOpening]:
        """Every opening whose window lasts, the oldest first; raises `StateError`."""
        now = self.now()
        found = (_parsed(path) for path in self.folder.glob("[!.]*.opening"))
        return sorted((one for one in found if one and not one.over(now)), key=lambda one: (one.made_at, one.path.name))

    def open(self, enclave: Enclave, challenge_id: str) -> list[Opening]:
        """The openings of one presentation.

        Raises `OpeningUnavailable` when there are none (any more), or when they do not open: the file was changed, or
        the machine is another, or in another state.
        """
        kept = next((one for one in self.kept() if one.challenge_id == challenge_id), None)
        if kept is None:
            raise OpeningUnavailable("this node keeps no opening of that challenge, or no longer")
        header, file = _read(kept)
        key = _unsealed(enclave, header)
        try:
            return decode(AESGCM(bytes(key)).decrypt(file.nonce, file.ciphertext, file.header), list[Opening])
        except (InvalidTag, ValueError):
            raise OpeningUnavailable("the opening was changed") from None
        finally:
            wipe(key)

    def discard(self, record_id: str) -> None:
        """Remove every opening of a record, half-written ones included; raises `StateError`."""
        self._remove(lambda one: one.record_id == record_id)

    def sweep(self) -> int:
        """Remove what is past its window, and what is no opening; how many files went. Raises `StateError`."""
        now = self.now()
        return self._remove(lambda one: one.over(now))

    def recover(self) -> int:
        """As `sweep`, and remove what a crash left half-written; for when nobody is writing."""
        now = self.now()
        return self._remove(lambda one: one.over(now) or one.path.name.startswith("."))

    def next_end(self) -> float | None:
        """When the next window ends, if any lasts."""
        return min((one.until for one in self.kept()), default=None)

    def _path(self, header: _Header) -> Path:
        name = f"{header.record_id}.{header.challenge_id}.{header.made_at}.{header.until}.opening"
        if _NAME.fullmatch(name) is None:
            raise ProtocolViolation("an identifier of the authority has foreign characters")
        return self.folder / name

    def _remove(self, unwanted: Callable[[KeptOpening], bool]) -> int:
        gone = 0
        for path in sorted(self.folder.iterdir()):
            one = _parsed(path)
            if one is None or unwanted(one):
                remove(path)
                gone += 1
        if gone:
            event(logging.INFO, "openings were erased", files=gone)
        return gone


def _parsed(path: Path) -> KeptOpening | None:
    found = _NAME.fullmatch(path.name)
    if found is None:
        return None
    return KeptOpening(path, found["record"], found["challenge"], int(found["made"]), int(found["until"]))


def _unsealed(enclave: Enclave, header: _Header) -> bytearray:
    try:
        return bytearray(enclave.unseal(header.sealed_key))
    except AuthorisationFailed:
        text = "the opening was sealed by another machine, or in another state of this one"
        raise OpeningUnavailable(
            text, remedy="It opens in the state that the machine was in when it was made."
        ) from None


def _read(kept: KeptOpening) -> tuple[_Header, _File]:
    """A file and its header, which must say what its name says."""
    try:
        file = read_struct(kept.path, _File)
        if file is None:
            raise OpeningUnavailable("this node keeps no opening of that challenge any longer")
        header = decode(file.header, _Header)
    except (StateError, ProtocolViolation):
        raise OpeningUnavailable("the opening is damaged, or of another version") from None
    named = (kept.record_id, kept.challenge_id, kept.made_at, kept.until)
    said = (header.record_id, header.challenge_id, header.made_at, header.until)
    if header.form != FORM or len(file.nonce) != NONCE_BYTES or named != said:
        raise OpeningUnavailable("the opening was changed, or is of another version")
    return header, file
