"""The endorsement key, its certificates, and answering a credential made for it.

TCG EK Credential Profile for TPM Family 2.0, 2.5: templates L-1, L-2, H-1, H-2, H-3, H-6 in annex B, NV indices in
2.2.1.4 and 2.2.1.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tpm2_pytss import ESYS_TR, TPM2_SE, TPM2B_ENCRYPTED_SECRET, TPM2B_ID_OBJECT, TPM2B_PUBLIC
from tpm2_pytss.utils import NoSuchIndex, create_ek_template

from drivers.tpm2._tpm import DECRYPT, ENCRYPT, NV_BUFFER_MAX, Tpm, refusing_foreign_blobs, whole
from hal import Endorsement

CERTIFICATE_INDICES = range(0x01C00002, 0x01C00100)
CHAIN_INDICES = range(0x01C00100, 0x01C00200)
_FAILURE = 0x101
"""TPM_RC_FAILURE: what libtpms, and with it swtpm, says when RSA-OAEP decryption does not come out."""


@dataclass(frozen=True)
class _Kind:
    """A kind of endorsement key: its template's name, its certificate's NV index, its customary persistent handle.

    The low range opens by PolicySecret(endorsement hierarchy) alone, the high range also by its authorisation value,
    which is empty.
    """

    template: str
    certificate: int
    persistent: int
    by_policy: bool = False


_KINDS = (
    _Kind("EK-RSA2048", 0x01C00002, 0x81010001, by_policy=True),
    _Kind("EK-ECC256", 0x01C0000A, 0x81010002, by_policy=True),
    _Kind("EK-HIGH-RSA2048", 0x01C00012, 0x81010012),
    _Kind("EK-HIGH-ECC256", 0x01C00014, 0x81010014),
    _Kind("EK-HIGH-ECC384", 0x01C00016, 0x81010016),
    _Kind("EK-HIGH-RSA3072", 0x01C0001C, 0x8101001C),
)
"""In the order of preference: the first that the maker certified is used."""


class EndorsementKey:
    """Reads and uses the endorsement key that the TPM's maker certified."""

    def __init__(self, tpm: Tpm) -> None:
        self._tpm = tpm
        self._indices = frozenset(tpm.handles(CERTIFICATE_INDICES.start, CHAIN_INDICES.stop - 1))
        self._buffer = tpm.properties(NV_BUFFER_MAX, 1).get(NV_BUFFER_MAX, 512)
        self._kind = next((kind for kind in _KINDS if kind.certificate in self._indices), _KINDS[0])

    def describe(self) -> Endorsement:
        """Public area and certificates: the key's own first, then the issuers, and apart those of further keys."""
        with self._key() as (_, public, certificate):
            leaf = (certificate,) if certificate else ()
        issuers = [_trimmed(self._read(index)) for index in sorted(self._indices.intersection(CHAIN_INDICES))]
        others = [kind.certificate for kind in _KINDS if kind is not self._kind and kind.certificate in self._indices]
        return Endorsement(public, leaf + tuple(issuers), tuple(_trimmed(self._read(index)) for index in others))

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> bytes:
        """TPM2_ActivateCredential, in a session salted to the endorsement key."""
        tpm, what = self._tpm, "activating a credential"
        blob, secret = whole(TPM2B_ID_OBJECT, credential_blob), whole(TPM2B_ENCRYPTED_SECRET, encrypted_secret)
        kind = TPM2_SE.POLICY if self._kind.by_policy else TPM2_SE.HMAC
        with self._key() as (key, _, _), tpm.session(key, DECRYPT | ENCRYPT, kind) as session:
            if self._kind.by_policy:
                tpm.esys.policy_secret(ESYS_TR.ENDORSEMENT, session, expiration=0)
            with tpm.attestation_key() as (ak, _), refusing_foreign_blobs(what, _FAILURE):
                answer = tpm.esys.activate_credential(ak, key, blob, secret, session2=session)
        return bytes(answer)

    @contextmanager
    def _key(self) -> Iterator[tuple[Any, bytes, bytes | None]]:
        """Handle, public area and certificate; the persistent key when it is the certified one, for making an RSA key
        takes a chip many seconds."""
        certificate, template = create_ek_template(self._kind.template, self._read)
        der = _trimmed(certificate) if certificate else None
        if self._kind.persistent in self._tpm.handles(self._kind.persistent, self._kind.persistent):
            with self._tpm.known(self._kind.persistent) as handle:
                public, _, _ = self._tpm.esys.read_public(handle)
                if _made_from(template, public):
                    yield handle, public.marshal(), der
                    return
        with self._tpm.primary(ESYS_TR.ENDORSEMENT, template) as (handle, marshalled):
            yield handle, marshalled, der

    def _read(self, index: int) -> bytes:
        """Content of an NV index; raises `NoSuchIndex` as the template maker wants it."""
        if index not in self._indices:
            raise NoSuchIndex(index)
        with self._tpm.known(index) as handle:
            public, _ = self._tpm.esys.nv_read_public(handle)
            area = public.nvPublic
            size, content = int(area.dataSize), b""
            while len(content) < size:
                part = self._tpm.esys.nv_read(handle, min(self._buffer, size - len(content)), len(content))
                content += bytes(part)
        return content


def _made_from(template: Any, public: Any) -> bool:
    """Whether a key has the public area that `template` asks for, its unique part aside."""
    return _without_unique(template) == _without_unique(public)


def _without_unique(public: Any) -> bytes:
    copy, _ = TPM2B_PUBLIC.unmarshal(public.marshal())
    area = copy.publicArea
    marshalled: bytes = area.marshal()
    unique: bytes = area.unique.marshal(area.type)
    return marshalled[: len(marshalled) - len(unique)]


def _trimmed(content: bytes) -> bytes:
    """A DER certificate without the padding that some makers fill the NV index with."""
    if len(content) < 4 or content[0] != 0x30 or content[1] != 0x82:
        return content
    return content[: 4 + int.from_bytes(content[2:4], "big")]
