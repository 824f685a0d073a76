"""Files that tpm2-tools writes about a quote: keys, signatures and register values.

Formats: `tpm2_readpublic -f tss|tpmt|pem|der`, `tpm2_quote -f tss|plain` and `-F serialized|values`, versions 4 and 5.
The serialized values are TPML_PCR_SELECTION, a count, and as many TPML_DIGEST, as C lays them out in memory:
little-endian, with room for sixteen banks and for eight digests of 64 bytes in each list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from authority.tpm._reader import Reader, TpmFormatError
from authority.tpm.eventlog import DIGEST_BYTES
from authority.tpm.keys import CURVES, key_of
from authority.tpm.wire import (
    MAX_BANKS,
    MAX_SELECT,
    Algorithm,
    EcdsaSignature,
    PcrSelection,
    Public,
    RsaSignature,
    Scheme,
    Signature,
    parse_public,
    parse_signature,
)

Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
Registers = dict[tuple[Algorithm, int], bytes]

_DIGESTS_IN_LIST = 8
_DIGEST_ROOM = 64
_RSA_BITS = frozenset({2048, 3072, 4096})


@dataclass(frozen=True)
class SignerFile:
    """A public key, and its public area where the file has one: a bare key says nothing of where it lives."""

    key: Key
    public: Public | None


def read_signer(data: bytes) -> SignerFile:
    """A TPM2B_PUBLIC or TPMT_PUBLIC, a SubjectPublicKeyInfo (PEM or DER), or a certificate's key (PEM).

    Of a certificate only the key is read; who issued it is not looked at. Raises `TpmFormatError`.
    """
    if data.lstrip().startswith(b"-----BEGIN"):
        return SignerFile(_fit(_pem(data)), None)
    if data[:1] == b"\x30":
        return SignerFile(_fit(_der(data)), None)
    framed = len(data) - 2 == int.from_bytes(data[:2], "big")
    public = parse_public(data if framed else len(data).to_bytes(2, "big") + data)
    return SignerFile(key_of(public), public)


def read_signature(data: bytes, signer: SignerFile) -> Signature:
    """A TPMT_SIGNATURE, or a bare one by a key whose public area names scheme and hash; raises `TpmFormatError`."""
    try:
        return parse_signature(data)
    except TpmFormatError as error:
        scheme = signer.public.parameters.scheme if signer.public else None
        if scheme is None:
            raise
        return _plain(data, signer.key, scheme, error)


def read_registers(data: bytes, quoted: Sequence[PcrSelection]) -> Registers:
    """The values in `data`, which must be of exactly the registers that are quoted; raises `TpmFormatError`."""
    wanted = [(one.bank, pcr) for one in quoted for pcr in one.pcrs]
    if len(data) == sum(DIGEST_BYTES[bank] for bank, _ in wanted):
        reader = Reader(data, "PCR values")
        return {key: reader.take(DIGEST_BYTES[key[0]]) for key in wanted}
    selections, digests = _serialized(data)
    named = [(one.bank, pcr) for one in selections for pcr in one.pcrs]
    if set(named) != set(wanted) or len(named) != len(wanted):
        raise TpmFormatError("PCR file: it has other registers than the quote")
    if [len(digest) for digest in digests] != [DIGEST_BYTES[bank] for bank, _ in named]:
        raise TpmFormatError("PCR file: digests and registers do not pair up")
    return dict(zip(named, digests, strict=True))


def _pem(data: bytes) -> object:
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            return x509.load_pem_x509_certificate(data).public_key()
        return load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise TpmFormatError("key file: this PEM holds no public key and no certificate") from None


def _der(data: bytes) -> object:
    try:
        return load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise TpmFormatError("key file: this DER holds no public key") from None


def _fit(key: object) -> Key:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS and key.public_numbers().e == 65537:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, tuple(CURVES.values())):
        return key
    raise TpmFormatError("key file: neither RSA of 2048, 3072 or 4096 bits nor P-256, P-384 or P-521")


def _plain(data: bytes, key: Key, scheme: Scheme, error: TpmFormatError) -> Signature:
    """What `tpm2_quote -f plain` writes: the RSA value, or r and s in DER."""
    if isinstance(key, rsa.RSAPublicKey):
        if len(data) != key.key_size // 8:
            raise error
        return RsaSignature(scheme, data)
    try:
        r, s = utils.decode_dss_signature(data)
    except ValueError:
        raise error from None
    return EcdsaSignature(scheme.hash, r, s)


def _serialized(data: bytes) -> tuple[list[PcrSelection], list[bytes]]:
    reader = Reader(data, "PCR file")
    count = reader.uint(4, "little")
    slots = [reader.take(8) for _ in range(MAX_BANKS)]
    if not 0 < count <= MAX_BANKS or not all(map(_unused, slots[count:])):
        raise TpmFormatError(f"PCR file: neither the values of the quoted registers nor a selection ({count} banks)")
    lists = reader.uint(4, "little")
    digests = [digest for _ in range(min(lists, len(data))) for digest in _digest_list(reader)]
    reader.end()
    return [_slot(slot) for slot in slots[:count]], digests


def _slot(slot: bytes) -> PcrSelection:
    """TPMS_PCR_SELECTION in memory: hash, size, four bytes of bitmap, one byte to fill up."""
    reader = Reader(slot, "PCR file")
    try:
        bank = Algorithm(reader.uint(2, "little"))
    except ValueError:
        raise TpmFormatError("PCR file: a bank that is not known") from None
    size, bitmap, filling = reader.uint(1), reader.uint(4, "little"), reader.uint(1)
    if bank not in DIGEST_BYTES or size > MAX_SELECT or bitmap >> 8 * size or filling:
        raise TpmFormatError("PCR file: a selection that no tool writes")
    return PcrSelection(bank, tuple(pcr for pcr in range(8 * size) if bitmap >> pcr & 1))


def _unused(slot: bytes) -> bool:
    """A free slot is zero; where a bank was asked for that the TPM lacks, its hash is, and a selection is left."""
    left_over = 0 < slot[2] <= MAX_SELECT and any(slot[3:7])
    return not any(slot) or (slot[:2] == b"\0\0" and left_over and slot[7] == 0)


def _digest_list(reader: Reader) -> list[bytes]:
    """TPML_DIGEST in memory; what is beyond a digest's size, and beyond the count, is zero."""
    count = reader.uint(4, "little")
    if count > _DIGESTS_IN_LIST:
        raise TpmFormatError(f"PCR file: a list of {count} digests")
    found: list[bytes] = []
    for at in range(_DIGESTS_IN_LIST):
        size, room = reader.uint(2, "little"), reader.take(_DIGEST_ROOM)
        if size > _DIGEST_ROOM or any(room[size:]) or (at >= count and size):
            raise TpmFormatError("PCR file: a digest list that no tool writes")
        if at < count:
            found.append(room[:size])
    return found
