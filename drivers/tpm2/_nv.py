"""NV indices by label: where they lie, and every command on them through one salted session.

Nothing of them is kept on disk. An index has the handle 0x01 ‖ purpose (1 byte) ‖ hash of the label (2 bytes), inside
the owner's range 0x01800000 to 0x01BFFFFF (TCG Registry of Reserved TPM 2.0 Handles and Localities, 2.2.2). Its
authPolicy is a digest of purpose and label, which no policy session can reach: it tells two labels of one hash apart,
and stands in the Name that the AK certifies. A guard's authPolicy is of use, so that its label is told by the handle
alone: there are 28 times as many for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_NT,
    TPM2B_DATA,
    TPM2B_NV_PUBLIC,
    TPMA_NV,
    TPMS_NV_PUBLIC,
    TPMT_SIG_SCHEME,
    TSS2_Exception,
)

from drivers.tpm2._errors import NV_UNINITIALIZED, tpm_code
from drivers.tpm2._tpm import DECRYPT, ENCRYPT, Tpm
from hal import Busy, NvCertification

CANDIDATES = 8
"""So many handles are looked at for a label, when others lie on the first."""

_TYPE_SHIFT = 4
_CHANGING = TPMA_NV.WRITTEN | TPMA_NV.WRITELOCKED | TPMA_NV.READLOCKED
_READABLE = TPMA_NV.NO_DA | TPMA_NV.AUTHREAD | TPMA_NV.OWNERREAD
_BY_POLICY = TPMA_NV.POLICYREAD | TPMA_NV.POLICYWRITE
_OWNER_WRITE_PIN = _READABLE | TPMA_NV.OWNERWRITE


@dataclass(frozen=True)
class Purpose:
    """A kind of index: its byte in the handle, its TPMA_NV attributes (Part 2, 13.4), the size of its data.

    `span` is how many bytes from the first on are its own; `marked` whether its authPolicy is the label's mark.
    """

    byte: int
    attributes: int
    size: int
    span: int = 1
    marked: bool = True

    @property
    def handles(self) -> range:
        """Every handle that an index of this purpose can have."""
        first = 0x01000000 | self.byte << 16
        return range(first, first + (self.span << 16))

    def mark(self, label: str) -> bytes:
        """32 bytes that stand for `label`: the authPolicy of a marked index."""
        return hashlib.sha256(b"keyvigil nv index 1\0" + bytes([self.byte]) + label.encode()).digest()

    def candidates(self, label: str) -> Iterator[int]:
        """Handles for `label`, in the order in which they are tried."""
        for attempt in range(CANDIDATES if self.marked else 1):
            digest = hashlib.sha256(self.mark(label) + bytes([attempt])).digest()
            number = int.from_bytes(digest[:2] if self.span == 1 else digest[:8], "big")
            yield self.handles.start + number % len(self.handles)


COUNTER = Purpose(0xA1, _READABLE | TPMA_NV.AUTHWRITE | TPM2_NT.COUNTER << _TYPE_SHIFT, 8)
"""Not ORDERLY: every step is in NV before it is answered."""

MEASUREMENT = Purpose(0xA2, _READABLE | TPMA_NV.AUTHWRITE | TPMA_NV.CLEAR_STCLEAR | TPM2_NT.EXTEND << _TYPE_SHIFT, 32)
PIN = Purpose(0xA3, _OWNER_WRITE_PIN | TPM2_NT.PIN_FAIL << _TYPE_SHIFT, 8)
PURPOSES = (COUNTER, MEASUREMENT, PIN)
GUARD = Purpose(0xA4, TPMA_NV.NO_DA | _BY_POLICY | TPM2_NT.PIN_FAIL << _TYPE_SHIFT, 8, span=0x1C, marked=False)
"""By its policy alone: not even the owner sets its count back, other than by removing it."""


class NvIndices:
    """The NV indices of one TPM through one session; made by `indices`."""

    def __init__(self, tpm: Tpm, session: Any) -> None:
        self._tpm = tpm
        self._session = session

    def find(self, purpose: Purpose, label: str) -> int | None:
        """Handle of the index for `label`, and of nothing else that lies there."""
        return self._search(purpose, label)[0]

    def ensure(self, purpose: Purpose, label: str, auth: bytes = b"", policy: bytes | None = None) -> tuple[int, bool]:
        """Handle of the index, defined if it was missing, and whether it was; raises `Busy` where all are taken.

        A new one has the authPolicy `policy`, by default the mark of `label`.
        """
        found, free = self._search(purpose, label)
        if found is not None:
            return found, False
        public = _public(free, purpose, label, policy)
        self.define(public, auth, self._protected(DECRYPT))
        return int(public.nvPublic.nvIndex), True

    def vacant(self, purpose: Purpose, label: str, policy: bytes) -> TPM2B_NV_PUBLIC:
        """The public area of an index that is to be defined; raises `Busy` where one lies there."""
        found, free = self._search(purpose, label)
        return _public(free if found is None else None, purpose, label, policy)

    def define(self, public: TPM2B_NV_PUBLIC, auth: bytes, by: Any) -> None:
        """TPM2_NV_DefineSpace by the owner through the session `by`."""
        self._tpm.esys.tr_close(self._tpm.esys.nv_define_space(auth, public, session1=by))

    def remove(self, purpose: Purpose, label: str, by: Any = None) -> None:
        """Undefine the index, if it is there; by the owner's authorisation value, or through the session `by`."""
        found = self.find(purpose, label)
        if found is None:
            return
        handle = self._tpm.esys.tr_from_tpmpublic(found)
        try:
            self._tpm.esys.nv_undefine_space(handle, session1=by or self._protected(0))
        except TSS2_Exception:
            self._tpm.esys.tr_close(handle)
            raise

    def read(self, number: int, purpose: Purpose, auth: bytes | None = b"") -> bytes | None:
        """Content by the index's own authorisation value, or by the owner's (`None`); `None` before the first write."""
        with self._tpm.known(number) as handle:
            authority = ESYS_TR.OWNER if auth is None else handle
            if auth:
                self._tpm.esys.tr_set_auth(handle, auth)
            try:
                content = self._tpm.esys.nv_read(handle, purpose.size, 0, authority, session1=self._protected(ENCRYPT))
            except TSS2_Exception as error:
                if tpm_code(error.rc) == NV_UNINITIALIZED:
                    return None
                raise
            return bytes(content)

    def increment(self, number: int) -> None:
        """Add one to a counter; the first time, it starts above every counter that was ever removed from this TPM."""
        with self._tpm.known(number) as handle:
            self._tpm.esys.nv_increment(handle, session1=self._protected(0))

    def extend(self, number: int, digest: bytes) -> None:
        """Extend a measurement."""
        with self._tpm.known(number) as handle:
            self._tpm.esys.nv_extend(handle, digest, session1=self._protected(DECRYPT))

    def write_by_owner(self, number: int, content: bytes) -> None:
        """Write an index that is the owner's to write."""
        with self._tpm.known(number) as handle:
            self._tpm.esys.nv_write(handle, content, 0, ESYS_TR.OWNER, session1=self._protected(DECRYPT))

    def certify(self, number: int, purpose: Purpose, qualifying: bytes, by: Any = None) -> NvCertification:
        """TPM2_NV_Certify by the AK over the whole content; the AK's own authorisation value is empty.

        Through the policy session `by`, or else by the index's own authorisation value, which is empty then.
        """
        with self._tpm.known(number) as handle, self._tpm.attestation_key() as (ak, _):
            public, _ = self._tpm.esys.nv_read_public(handle)
            attest, signature = self._tpm.esys.nv_certify(
                ak,
                handle,
                TPM2B_DATA(qualifying),
                TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL),
                purpose.size,
                session1=ESYS_TR.PASSWORD,
                session2=by or self._protected(0),
            )
            return NvCertification(bytes(attest), signature.marshal(), public.marshal())

    def _protected(self, which: int) -> Any:
        self._tpm.protect(self._session, which)
        return self._session

    def _search(self, purpose: Purpose, label: str) -> tuple[int | None, int | None]:
        """The handle of the index, or else the first free one for it."""
        present = frozenset(self._tpm.handles(purpose.handles.start, purpose.handles.stop - 1))
        candidates = list(purpose.candidates(label))
        found = next((one for one in candidates if one in present and self._is_ours(one, purpose, label)), None)
        return found, next((one for one in candidates if one not in present), None)

    def _is_ours(self, number: int, purpose: Purpose, label: str) -> bool:
        """Whether exactly the index that we would define lies at a handle: one that can be rolled back is none."""
        with self._tpm.known(number) as handle:
            public, _ = self._tpm.esys.nv_read_public(handle)
            area = public.nvPublic
            attributes, policy = int(area.attributes) & ~_CHANGING, bytes(area.authPolicy)
            form = int(area.nameAlg), int(area.dataSize)
        mark = purpose.mark(label) if purpose.marked else policy
        wanted = purpose.attributes, mark, (TPM2_ALG.SHA256, purpose.size)
        return (attributes, policy, form) == wanted


def _public(free: int | None, purpose: Purpose, label: str, policy: bytes | None) -> TPM2B_NV_PUBLIC:
    if free is None:
        raise Busy(
            f"TPM: every NV index for {label!r} is taken",
            remedy="Look at `tpm2_nvreadpublic`, and remove what nobody needs with tpm2_nvundefine.",
        )
    area = TPMS_NV_PUBLIC(
        nvIndex=free,
        nameAlg=TPM2_ALG.SHA256,
        attributes=purpose.attributes,
        authPolicy=policy or purpose.mark(label),
        dataSize=purpose.size,
    )
    return TPM2B_NV_PUBLIC(nvPublic=area)


@contextmanager
def indices(tpm: Tpm) -> Iterator[NvIndices]:
    """The TPM's NV indices, through a salted session that lasts as long as the block."""
    with tpm.salted(0) as session:
        yield NvIndices(tpm, session)
