"""Form of a sealed profile on disk and its encryption.

A profile lies in files numbered by the release share that opens them: usually one, and two while it is refreshed.
"""

from __future__ import annotations

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agent.errors import ProfileError
from agent.hardening import wipe
from agent.profile._key import ProfileKey
from agent.profile.commitment import Shares
from protocol.codec import length_prefixed
from protocol.messages import ModalityModel, SensorIdentity

RECORD_VERSION = 3
PEPPER_BYTES = 32
NONCE_BYTES = 12
_SHARE_BYTES = 32


class RecordHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a record says in clear; its exact bytes are the associated data of the encryption.

    `codes` names the code of each bound modality, `share` is the number of the release share that opens this record,
    `key` the profile key as the enclave wrapped it, `sealed_pepper` the enclave's blob over 32 bytes, `infrared` the
    second camera beside that of the face, left out where there was none.
    """

    version: int
    node_id: str
    record_id: str
    admin: str
    modalities: list[ModalityModel]
    codes: dict[str, str]
    sensors: list[SensorIdentity]
    consent_version: str
    created_at: float
    share: int
    key: ProfileKey
    sealed_pepper: bytes
    infrared: SensorIdentity | msgspec.UnsetType = msgspec.UNSET

    @property
    def context(self) -> bytes:
        """What the shares inside belong to: everything of the header that a refresh leaves as it is."""
        models = [length_prefixed(each.modality, each.model, each.parameters) for each in self.modalities]
        bound = [length_prefixed(name, code) for name, code in sorted(self.codes.items())]
        return length_prefixed(
            "keyvigil/profile/3",
            self.node_id,
            self.record_id,
            self.admin,
            length_prefixed(*models),
            length_prefixed(*bound),
        )


class RecordFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: encoded header, AES-GCM nonce (12 bytes), ciphertext with tag."""

    header: bytes
    nonce: bytes
    ciphertext: bytes


class ProfileSecrets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Plaintext of a record.

    `templates` are those of released modalities, `sides` what bound ones keep beside their share, `masked_auth` the
    profile key's authorisation value under a keystream of the root.
    """

    templates: dict[str, bytes]
    sides: dict[str, bytes]
    shares: Shares
    masked_auth: bytes

    def __repr__(self) -> str:
        return "ProfileSecrets()"


def seal_record(
    header: bytes, secrets: ProfileSecrets, pepper: bytes, release_share: bytes, nonce: bytes
) -> RecordFile:
    """AES-256-GCM under HKDF-SHA256(pepper ‖ release share, info = context), the header authenticated beside it."""
    key = _record_key(header, pepper, release_share)
    plaintext = bytearray(msgspec.msgpack.encode(secrets))
    try:
        return RecordFile(header, nonce, AESGCM(bytes(key)).encrypt(nonce, plaintext, header))
    finally:
        wipe(key)
        wipe(plaintext)


def open_record(record: RecordFile, pepper: bytes, release_share: bytes) -> ProfileSecrets:
    """The plaintext; raises `ProfileError` for a wrong share, another enclave's pepper, or a changed record."""
    key = _record_key(record.header, pepper, release_share)
    try:
        plaintext = AESGCM(bytes(key)).decrypt(record.nonce, record.ciphertext, record.header)
        return msgspec.msgpack.decode(plaintext, type=ProfileSecrets)
    except (InvalidTag, ValueError):
        raise ProfileError("the sealed profile does not open: it was changed, or is not of this node") from None
    finally:
        wipe(key)


def _record_key(header: bytes, pepper: bytes, release_share: bytes) -> bytearray:
    if len(pepper) != PEPPER_BYTES or len(release_share) != _SHARE_BYTES:
        raise ProfileError("the sealed profile does not open: the authority's share has a wrong length")
    material = bytearray(pepper + release_share)
    try:
        info = length_prefixed("keyvigil/record/1", header)
        return bytearray(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(material))
    finally:
        wipe(material)
