"""Secrets bound to this TPM and to PCR values, and the framing of the blobs that hold them."""

from __future__ import annotations

from dataclasses import dataclass, field

from tpm2_pytss import TPM2_SE, TPM2B_SENSITIVE_CREATE, TPMS_SENSITIVE_CREATE

from drivers.tpm2 import _pcrs, _templates
from drivers.tpm2._errors import foreign
from drivers.tpm2._tpm import DECRYPT, ENCRYPT, Tpm
from hal import AuthorisationFailed, PcrSelection

_MAGIC = b"KVT2SEAL\x01"
_NAME_BYTES = 34


@dataclass(frozen=True)
class SealedBlob:
    """What unsealing needs: the PCRs, the Name of the storage root that it was made under, the sealed object.

    On disk: magic `KVT2SEAL` and version (1 byte), PCR bitmap (3 bytes, bit 0 of byte 0 is PCR 0), root Name (34),
    then public and private area, each with a 2-byte big-endian length, and nothing after.
    """

    selection: PcrSelection
    root: bytes
    public: bytes
    private: bytes = field(repr=False)

    def pack(self) -> bytes:
        """The blob as bytes."""
        bitmap = sum(1 << index for index in self.selection).to_bytes(3, "little")
        areas = b"".join(len(area).to_bytes(2, "big") + area for area in (self.public, self.private))
        return _MAGIC + bitmap + self.root + areas

    @classmethod
    def unpack(cls, blob: bytes) -> SealedBlob:
        """The parts of `blob`; raises `AuthorisationFailed` for anything else than the output of `pack`."""
        if not blob.startswith(_MAGIC):
            raise AuthorisationFailed("not a blob that a TPM of this driver sealed")
        at = len(_MAGIC) + 3
        bits = int.from_bytes(blob[len(_MAGIC) : at], "little")
        root, at = blob[at : at + _NAME_BYTES], at + _NAME_BYTES
        areas: list[bytes] = []
        for _ in range(2):
            size, at = int.from_bytes(blob[at : at + 2], "big"), at + 2
            areas.append(blob[at : at + size])
            at += size
        if at != len(blob):
            raise AuthorisationFailed("the sealed blob is damaged")
        return cls(tuple(index for index in range(24) if bits >> index & 1), root, *areas)


def seal(tpm: Tpm, secret: bytes, selection: PcrSelection) -> bytes:
    """TPM2_Create of a data object whose policy is PolicyPCR over the current values."""
    sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(data=secret))
    template = _templates.sealed_object(_pcrs.policy_now(tpm, selection))
    with tpm.storage_root() as root, tpm.session(root, DECRYPT | ENCRYPT) as session:
        private, public, _, _, _ = tpm.esys.create(root, sensitive, template, session1=session)
        return SealedBlob(selection, tpm.name(root), public.marshal(), private.marshal()).pack()


def unseal(tpm: Tpm, blob: bytes) -> bytes:
    """TPM2_Unseal in a salted policy session that encrypts the answer."""
    sealed = SealedBlob.unpack(blob)
    with tpm.storage_root() as root:
        # Before the session: whoever sits on the bus must not get to choose the key that the session is salted to.
        if tpm.name(root) != sealed.root:
            raise foreign("unsealing")
        with (
            tpm.session(root, ENCRYPT, TPM2_SE.POLICY) as session,
            tpm.loaded(root, sealed.public, sealed.private) as handle,
        ):
            tpm.esys.policy_pcr(session, b"", _pcrs.structure(sealed.selection))
            secret = tpm.esys.unseal(handle, session1=session)
            return bytes(secret)
