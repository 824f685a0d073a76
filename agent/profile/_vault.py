"""The sealed profiles of one node: sealing, opening, refreshing, listing, and the counter of each profile key."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.durable import read_struct, write_private
from agent.errors import ProfileError
from agent.hardening import wipe
from agent.log import event
from agent.pipelines import Bindable, Pipeline
from agent.profile._files import ProfileFiles
from agent.profile._key import AUTH_BYTES, ProfileKey, Wanted, masked
from agent.profile._open import OpenProfile, OpenVersion, Unlocked
from agent.profile._past import Past, joined, past_key, read_past, write_past
from agent.profile._record import (
    NONCE_BYTES,
    PEPPER_BYTES,
    RECORD_VERSION,
    ProfileSecrets,
    RecordFile,
    RecordHeader,
    open_record,
    seal_record,
)
from agent.profile.commitment import bind, parameters_for, refresh
from agent.profile.commitment.parameters import CODES
from agent.state import StateDirectory
from hal import Approval, DeviceError, Enclave, Grant, NvCertification, SealAuthority
from protocol.codec import ProtocolViolation, encode
from protocol.guard import FLOOR_LABEL, STATE_REFERENCE
from protocol.messages import ModalityModel, SensorIdentity
from protocol.release import ReleasedShares


def can_bind(pipeline: Pipeline) -> bool:
    """Whether a secret can be bound to a pipeline's features: whether they are embeddings whose code was measured."""
    return isinstance(pipeline, Bindable) and pipeline.code in CODES


@dataclass(frozen=True)
class Bound:
    """A modality that a secret is bound to: the code of its embedding (float32 `[d]`), and what is kept beside."""

    code: str
    embedding: NDArray[np.float32] = field(repr=False)
    side: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class ProfileDraft:
    """What enrolment gathered: everything of a profile but its keys. `past` are the digests of its captures.

    `templates` are those of modalities whose matcher lets their share go, `bound` the others.
    """

    record_id: str
    admin: str
    modalities: list[ModalityModel]
    sensors: list[SensorIdentity]
    consent_version: str
    created_at: float
    templates: Mapping[str, bytes] = field(repr=False)
    bound: Mapping[str, Bound] = field(repr=False)
    past: Past = field(default_factory=dict, repr=False)
    infrared: SensorIdentity | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True)
class Sealing:
    """What a new profile is bound to: node, first release share, the authority's approval key (65-byte point).

    `approved` is whether the enclave opens its secrets in states that the authority approves, as a TPM does.
    `qualifying` (32 bytes) is what every certification is over. `grant` is the leave of the TPM's owner for a guard.
    """

    node_id: str
    shares: ReleasedShares
    approval_key: bytes
    approved: bool
    qualifying: bytes
    grant: Grant | None = None

    @property
    def authority(self) -> SealAuthority:
        """Whose approvals open what is sealed."""
        return SealAuthority(self.approval_key, STATE_REFERENCE, FLOOR_LABEL)


@dataclass(frozen=True)
class Sealed:
    """What the authority is to be told of a new profile; `floor` is there where states are approved."""

    key: ProfileKey
    floor: NvCertification | None


class ProfileVault:
    """Sealed profiles in a state directory; `random` gives that many fresh bytes."""

    def __init__(self, state: StateDirectory, random: Callable[[int], bytes]) -> None:
        self._state = state
        self._files = ProfileFiles(state.profiles)
        self._random = random

    def seal(self, enclave: Enclave, draft: ProfileDraft, sealing: Sealing) -> Sealed:
        """Make root and profile key, and store the sealed record durably, as its last part.

        Raises `ProfileError` for modalities that no root can be bound to, `DeviceError`, `StateError`.
        """
        pepper, auth = self._random(PEPPER_BYTES), self._random(AUTH_BYTES)
        sealed_pepper = enclave.seal(pepper, (), sealing.authority if sealing.approved else None)
        header = _header(draft, sealing, sealed_pepper)
        embeddings = {name: one.embedding for name, one in draft.bound.items()}
        try:
            parameters = {name: parameters_for(code) for name, code in header.codes.items()}
            root, shares = bind(embeddings, [*draft.templates], parameters, pepper, header.context, self._random)
        except ValueError as error:
            raise ProfileError(f"no profile can be made of these samples: {error}") from None
        try:
            wanted = Wanted(draft.record_id, sealing.approval_key, sealing.qualifying, sealing.grant)
            key = ProfileKey.make(enclave, wanted, root, auth)
            header = msgspec.structs.replace(header, key=key)
            sides = {name: one.side for name, one in draft.bound.items()}
            secrets = ProfileSecrets(dict(draft.templates), sides, shares, masked(auth, root, draft.record_id))
            version = self._version(header, secrets, pepper, sealing.shares.present, joined({}, draft.past), 0)
            write_private(self._files.counter(draft.record_id), encode(0))
            self._write(version, sealing.shares.present)
            floor = enclave.certify_counter(FLOOR_LABEL, sealing.qualifying) if sealing.approved else None
            return Sealed(key, floor)
        finally:
            for secret in (root, auth, pepper):
                wipe(secret)

    def open(
        self, enclave: Enclave, node_id: str, record_id: str, shares: ReleasedShares, approval: Approval | None = None
    ) -> OpenProfile:
        """Open every version of a record with this enclave and the authority's shares.

        Raises `ProfileError` (missing, changed, wrong share, another node's, its past lost or an older copy) and
        `AuthorisationFailed` (another enclave, or a state that is not approved, or no longer).
        """
        self._files.newest(record_id)
        numbers = [number for number in self._files.shares(record_id) if shares.get(number) is not None]
        if not numbers:
            raise ProfileError("the sealed profile opens with another share than the authority has")
        opened: list[OpenVersion] = []
        refusal: ProfileError | None = None
        for number in numbers:
            try:
                opened.append(self._open_version(enclave, node_id, record_id, number, shares, approval))
            except ProfileError as error:
                refusal = refusal or error
        if not opened and refusal is not None:
            raise refusal
        return OpenProfile(tuple(opened))

    def header(self, record_id: str) -> RecordHeader:
        """What the record says in clear; raises `ProfileError`."""
        return self._files.newest(record_id)[1]

    def headers(self) -> list[RecordHeader]:
        """Headers of every readable record, by administrator."""
        found = [one for _, one in self.listing() if isinstance(one, RecordHeader)]
        return sorted(found, key=lambda header: header.admin)

    def listing(self) -> list[tuple[str, RecordHeader | ProfileError]]:
        """Every record's id, with its header or why there is none to read."""
        return [(record_id, self._header_or_error(record_id)) for record_id in self._files.records()]

    def accept(self, version: OpenVersion, captures: Past) -> int:
        """What a successful presentation leaves before its evidence does: digests and the evidence's number, durably.

        The version that signed is the one in force, and any other goes. The number is one above the sealed one, which
        nobody can raise who only writes to the disk. Raises `StateError`.
        """
        record_id, number = version.header.record_id, version.number + 1
        self._files.keep_only(record_id, version.header.share)
        self._write_past(version, joined(version.past, captures), number)
        write_private(self._files.counter(record_id), encode(number))
        return number

    def remember(self, profile: OpenProfile, captures: Past) -> None:
        """Add digests of a presentation that gave no evidence; raises `StateError`.

        The number stays: the authority would not miss a higher one, and an older copy could catch up by failing.
        """
        for version in profile.versions:
            self._write_past(version, joined(version.past, captures), version.number)

    def refresh(self, enclave: Enclave, unlocked: Unlocked, shares: ReleasedShares, captures: Past) -> int:
        """Move an unlocked profile to its next release share, root, PIN and mask; the number of the share in force.

        In this order, each step durable before the next: the new version beside the old one, the enclave's PIN, the old
        version's removal. Whatever interrupts it, the version that the enclave answers to is there. Nothing happens
        when the authority has not released a further share. Raises `StateError`, `DeviceError`.
        """
        version, header = unlocked.version, unlocked.version.header
        share = shares.get(header.share + 1)
        if share is None:
            return header.share
        delta, fresh = refresh(version.secrets.shares, self._random)
        root = bytes(a ^ b for a, b in zip(unlocked.root, delta, strict=True))
        auth = unlocked.auth()
        try:
            moved = msgspec.structs.replace(header, share=header.share + 1)
            mask = masked(auth, root, header.record_id)
            secrets = msgspec.structs.replace(version.secrets, shares=fresh, masked_auth=mask)
            past = joined(version.past, captures)
            self._write(self._version(moved, secrets, version.pepper, share, past, version.number + 1), share)
            header.key.move(enclave, unlocked.root, root)
            self._files.keep_only(header.record_id, moved.share)
            return moved.share
        finally:
            for secret in (root, delta, auth):
                wipe(secret)

    def raise_floor(self, enclave: Enclave, version: int) -> None:
        """Let no approval below `version`, under which a secret was opened just now, open anything from now on."""
        try:
            behind = version - enclave.counter(FLOOR_LABEL)
            for _ in range(min(behind, _MOST_ADVANCES)):
                enclave.advance(FLOOR_LABEL)
        except DeviceError as error:
            event(logging.ERROR, "earlier approvals stay good", error=str(error), remedy=error.remedy)

    def hold(self, modality: str, record_id: str) -> None:
        """Note, before it happens, that the device of `modality` takes the template of this record and keeps it."""
        write_private(self._state.holders, encode(self._holders() | {modality: record_id}))

    def holds(self, modality: str, record_id: str) -> bool:
        """Whether the device of `modality` was last given the template of this record; raises `StateError`."""
        return self._holders().get(modality) == record_id

    def discard(self, record_id: str) -> None:
        """Remove a record, its past and its counter; its key stays in no place but those."""
        self._files.discard(record_id)

    def _open_version(
        self,
        enclave: Enclave,
        node_id: str,
        record_id: str,
        number: int,
        shares: ReleasedShares,
        approval: Approval | None,
    ) -> OpenVersion:
        record, header = self._files.read(record_id, number)
        if header.node_id != node_id:
            raise ProfileError("the sealed profile is of another node")
        share = shares.get(number) or b""
        pepper = enclave.unseal(header.sealed_pepper, approval)
        secrets = open_record(record, pepper, share)
        key = past_key(record.header, pepper, share)
        count, past = read_past(self._files.past(record_id, number), key, self._counter(record_id))
        return OpenVersion(header, secrets, past, count, key, pepper)

    def _header_or_error(self, record_id: str) -> RecordHeader | ProfileError:
        try:
            return self.header(record_id)
        except ProfileError as error:
            return error
        except ProtocolViolation as error:
            return ProfileError(str(error), remedy="Remove the file: Keyvigil did not write it.")

    @staticmethod
    def _version(
        header: RecordHeader, secrets: ProfileSecrets, pepper: bytes, share: bytes, past: Past, number: int
    ) -> OpenVersion:
        return OpenVersion(header, secrets, past, number, past_key(encode(header), pepper, share), pepper)

    def _write(self, version: OpenVersion, share: bytes) -> None:
        """Past, then record, durably: a record is never without its past."""
        header = version.header
        record: RecordFile = seal_record(
            encode(header), version.secrets, version.pepper, share, self._random(NONCE_BYTES)
        )
        self._write_past(version, version.past, version.number)
        write_private(self._files.record(header.record_id, header.share), encode(record))

    def _write_past(self, version: OpenVersion, past: Past, number: int) -> None:
        path = self._files.past(version.header.record_id, version.header.share)
        write_past(path, version.past_key, self._random(NONCE_BYTES), number, past)

    def _holders(self) -> dict[str, str]:
        return read_struct(self._state.holders, dict[str, str]) or {}

    def _counter(self, record_id: str) -> int:
        last = read_struct(self._files.counter(record_id), int)
        if last is None or last < 0:
            raise ProfileError("the counter of the sealed profile is missing")
        return last


_MOST_ADVANCES = 64
"""Writes to the TPM's NV memory, which wears, for one approval."""


def _header(draft: ProfileDraft, sealing: Sealing, sealed_pepper: bytes) -> RecordHeader:
    return RecordHeader(
        version=RECORD_VERSION,
        node_id=sealing.node_id,
        record_id=draft.record_id,
        admin=draft.admin,
        modalities=draft.modalities,
        codes={name: one.code for name, one in draft.bound.items()},
        sensors=draft.sensors,
        infrared=draft.infrared,
        consent_version=draft.consent_version,
        created_at=draft.created_at,
        share=sealing.shares.number,
        key=ProfileKey.none(),
        sealed_pepper=sealed_pepper,
    )
