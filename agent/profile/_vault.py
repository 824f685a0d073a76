"""The sealed profiles of one node: sealing, opening, listing, and the counter of each profile key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.durable import read_struct, remove, write_private
from agent.errors import ProfileError, StateError
from agent.identity import StoredKey
from agent.profile._past import Past, joined, past_key, read_past, write_past
from agent.profile._record import (
    AUTH_BYTES,
    NONCE_BYTES,
    PEPPER_BYTES,
    RECORD_VERSION,
    ProfileSecrets,
    RecordFile,
    RecordHeader,
    open_record,
    seal_record,
)
from agent.state import StateDirectory
from hal import CertifiedKey, Enclave, KeyUse, PcrSelection
from protocol.codec import ProtocolViolation, decode, encode
from protocol.messages import ModalityModel, SensorIdentity

_RECORD_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True)
class ProfileDraft:
    """What enrolment gathered: everything of a profile but its keys. `past` are the digests of its captures."""

    record_id: str
    admin: str
    modalities: list[ModalityModel]
    sensors: list[SensorIdentity]
    consent_version: str
    created_at: float
    templates: Mapping[str, bytes] = field(repr=False)
    past: Past = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class OpenProfile:
    """A profile that was opened for one presentation: drop it as soon as the evidence is signed.

    `past` are digests of earlier captures by modality, the oldest first; `number` is that of the last evidence.
    """

    header: RecordHeader
    templates: Mapping[str, bytes] = field(repr=False)
    auth: bytes = field(repr=False)
    past: Past = field(repr=False)
    number: int
    past_key: bytes = field(repr=False)

    def sign(self, enclave: Enclave, digest: bytes) -> bytes:
        """The profile key's ECDSA signature (r ‖ s) over a SHA-256 digest."""
        return enclave.sign(self.header.key.certified(), self.auth, digest)


class ProfileVault:
    """Sealed profiles in a state directory; `random` gives that many fresh bytes."""

    def __init__(self, state: StateDirectory, random: Callable[[int], bytes]) -> None:
        self._state = state
        self._random = random

    def seal(
        self,
        enclave: Enclave,
        node_id: str,
        draft: ProfileDraft,
        release_share: bytes,
        selection: PcrSelection,
        qualifying: bytes,
    ) -> CertifiedKey:
        """Make the profile key, certified over `qualifying` (32 bytes), and store the sealed record durably.

        The record replaces an earlier one of the same id only when it is complete. Raises `DeviceError`, `StateError`.
        """
        auth = self._random(AUTH_BYTES)
        key = enclave.create_key(KeyUse.SIGN, auth, qualifying)
        pepper = self._random(PEPPER_BYTES)
        header = RecordHeader(
            version=RECORD_VERSION,
            node_id=node_id,
            record_id=draft.record_id,
            admin=draft.admin,
            modalities=draft.modalities,
            sensors=draft.sensors,
            consent_version=draft.consent_version,
            created_at=draft.created_at,
            key=StoredKey.of(key),
            sealed_pepper=enclave.seal(pepper, selection),
        )
        secrets = ProfileSecrets(dict(draft.templates), auth)
        record = seal_record(encode(header), secrets, pepper, release_share, self._random(NONCE_BYTES))
        write_private(self._counter_path(draft.record_id), encode(0))
        remembered = past_key(record.header, pepper, release_share)
        write_past(self._past_path(draft.record_id), remembered, self._random(NONCE_BYTES), 0, joined({}, draft.past))
        write_private(self._path(draft.record_id), encode(record))
        return key

    def open(self, enclave: Enclave, node_id: str, record_id: str, release_share: bytes) -> OpenProfile:
        """Open a record with this enclave and the authority's share.

        Raises `ProfileError` (missing, changed, wrong share, another node's, its past lost or an older copy) and
        `AuthorisationFailed` (another enclave, or PCRs that moved).
        """
        record, header = self._load(record_id)
        if header.node_id != node_id:
            raise ProfileError("the sealed profile is of another node")
        pepper = enclave.unseal(header.sealed_pepper)
        secrets = open_record(record, pepper, release_share)
        key = past_key(record.header, pepper, release_share)
        number, past = read_past(self._past_path(record_id), key, self._counter(record_id))
        return OpenProfile(header, secrets.templates, secrets.auth, past, number, key)

    def header(self, record_id: str) -> RecordHeader:
        """What the record says in clear; raises `ProfileError`."""
        return self._load(record_id)[1]

    def headers(self) -> list[RecordHeader]:
        """Headers of every readable record, by administrator."""
        paths = sorted(self._state.profiles.glob("*.record"))
        return sorted((self._read(path)[1] for path in paths), key=lambda header: header.admin)

    def next_counter(self, profile: OpenProfile) -> int:
        """The number of this presentation's evidence, above that of any before; on disk before it is returned.

        It follows the sealed number and not the file of the counter, which anybody who writes to the disk can raise.
        """
        number = profile.number + 1
        write_private(self._counter_path(profile.header.record_id), encode(number))
        return number

    def remember(self, profile: OpenProfile, captures: Past, *, answered: bool) -> None:
        """Add digests to the past of an opened profile; they are on disk when it returns.

        One that is `answered` by evidence gets the number that `next_counter` gives, so that a copy from before is
        known as one. Any other keeps the number: the authority would not miss it, and an older copy could catch up by
        failing. Raises `StateError`.
        """
        record_id = profile.header.record_id
        past, number = joined(profile.past, captures), profile.number + answered
        write_past(self._past_path(record_id), profile.past_key, self._random(NONCE_BYTES), number, past)

    def hold(self, modality: str, record_id: str) -> None:
        """Note, before it happens, that the device of `modality` takes the template of this record and keeps it."""
        write_private(self._state.holders, encode(self._holders() | {modality: record_id}))

    def holds(self, modality: str, record_id: str) -> bool:
        """Whether the device of `modality` was last given the template of this record; raises `StateError`."""
        return self._holders().get(modality) == record_id

    def discard(self, record_id: str) -> None:
        """Remove a record, its past and its counter."""
        remove(self._path(record_id))
        remove(self._past_path(record_id))
        remove(self._counter_path(record_id))

    def _holders(self) -> dict[str, str]:
        return read_struct(self._state.holders, dict[str, str]) or {}

    def _load(self, record_id: str) -> tuple[RecordFile, RecordHeader]:
        record, header = self._read(self._path(record_id))
        if header.record_id != record_id:
            raise ProfileError("the sealed profile is of another record")
        return record, header

    def _read(self, path: Path) -> tuple[RecordFile, RecordHeader]:
        try:
            record = read_struct(path, RecordFile)
            if record is None:
                raise ProfileError("there is no sealed profile with this record id on this node")
            header = decode(record.header, RecordHeader)
        except (StateError, ProtocolViolation):
            raise ProfileError(f"the sealed profile {path.name} is damaged") from None
        if header.version != RECORD_VERSION or len(record.nonce) != NONCE_BYTES:
            raise ProfileError(f"the sealed profile {path.name} is of another version")
        return record, header

    def _path(self, record_id: str) -> Path:
        return self._state.profiles / f"{_checked(record_id)}.record"

    def _counter(self, record_id: str) -> int:
        last = read_struct(self._counter_path(record_id), int)
        if last is None or last < 0:
            raise ProfileError("the counter of the sealed profile is missing")
        return last

    def _past_path(self, record_id: str) -> Path:
        return self._state.profiles / f"{_checked(record_id)}.past"

    def _counter_path(self, record_id: str) -> Path:
        return self._state.profiles / f"{_checked(record_id)}.counter"


def _checked(record_id: str) -> str:
    if _RECORD_ID.fullmatch(record_id) is None:
        raise ProtocolViolation("a record id of the authority has foreign characters")
    return record_id
