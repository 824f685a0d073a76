"""TPM 2.0 structures as a verifier meets them, parsed strictly.

Source: TCG TPM 2.0 Library Part 2, revision 1.59; section numbers stand with each type. Every length is checked,
unknown constants and reserved bits are refused, and nothing may follow a structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import STRICT, IntEnum, IntFlag

from authority.tpm._reader import Reader, TpmFormatError

MAGIC = 0xFF544347
"""TPM_GENERATED_VALUE (6.2): a restricted key signs nothing that starts with it unless the TPM made it."""
MAX_NAME = 66
MAX_DIGEST = 64
MAX_RSA = 512
MAX_COORDINATE = 66
MAX_BANKS = 16
MAX_SELECT = 4
MAX_NV = 2048


class Algorithm(IntEnum):
    """TPM_ALG_ID (6.3), as far as a verifier has a use for it."""

    RSA = 0x0001
    SHA1 = 0x0004
    AES = 0x0006
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    NULL = 0x0010
    RSASSA = 0x0014
    RSAPSS = 0x0016
    ECDSA = 0x0018
    ECDH = 0x0019
    ECC = 0x0023
    CFB = 0x0043


class Curve(IntEnum):
    """TPM_ECC_CURVE (6.4)."""

    P256 = 0x0003
    P384 = 0x0004
    P521 = 0x0005


class ObjectAttributes(IntFlag, boundary=STRICT):
    """TPMA_OBJECT (8.3); reserved bits are refused."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18
    X509_SIGN = 1 << 19


@dataclass(frozen=True)
class Symmetric:
    """TPMT_SYM_DEF_OBJECT (11.1.7) of a storage key: AES in CFB mode with `key_bits` 128, 192 or 256."""

    key_bits: int


@dataclass(frozen=True)
class Scheme:
    """Signing or key-exchange scheme of a key and its hash (11.2.2)."""

    algorithm: Algorithm
    hash: Algorithm


@dataclass(frozen=True)
class RsaParameters:
    """TPMS_RSA_PARMS (12.2.3.5)."""

    symmetric: Symmetric | None
    scheme: Scheme | None
    key_bits: int
    exponent: int


@dataclass(frozen=True)
class EccParameters:
    """TPMS_ECC_PARMS (12.2.3.6); no key-derivation scheme is accepted."""

    symmetric: Symmetric | None
    scheme: Scheme | None
    curve: Curve


@dataclass(frozen=True)
class EccPoint:
    """TPMS_ECC_POINT (11.2.5.2), big-endian coordinates."""

    x: bytes
    y: bytes


@dataclass(frozen=True)
class Public:
    """TPMT_PUBLIC (12.2.4) of an asymmetric key; `marshalled` are the bytes that it was read from."""

    name_algorithm: Algorithm
    attributes: ObjectAttributes
    auth_policy: bytes
    parameters: RsaParameters | EccParameters
    unique: bytes | EccPoint
    marshalled: bytes


@dataclass(frozen=True)
class RsaSignature:
    """TPMS_SIGNATURE_RSA (11.3.1)."""

    scheme: Scheme
    value: bytes


@dataclass(frozen=True)
class EcdsaSignature:
    """TPMS_SIGNATURE_ECC (11.3.2)."""

    hash: Algorithm
    r: int
    s: int


Signature = RsaSignature | EcdsaSignature


@dataclass(frozen=True)
class ClockInfo:
    """TPMS_CLOCK_INFO (10.11.1): `clock` in milliseconds; after a power loss it may fall back, and `safe` is false."""

    clock: int
    reset_count: int
    restart_count: int
    safe: bool


@dataclass(frozen=True)
class PcrSelection:
    """TPMS_PCR_SELECTION (10.6.2): a bank and its selected registers, ascending."""

    bank: Algorithm
    pcrs: tuple[int, ...]

    @property
    def weak(self) -> bool:
        """Whether registers of this bank may hold what somebody computed a collision for."""
        return self.bank is Algorithm.SHA1


@dataclass(frozen=True)
class QuoteInfo:
    """TPMS_QUOTE_INFO (10.12.4)."""

    selections: tuple[PcrSelection, ...]
    pcr_digest: bytes


@dataclass(frozen=True)
class CertifyInfo:
    """TPMS_CERTIFY_INFO (10.12.3)."""

    name: bytes
    qualified_name: bytes


@dataclass(frozen=True)
class NvInfo:
    """TPMS_NV_CERTIFY_INFO (10.12.8): the Name of an NV index, and what lies in it from `offset` on."""

    name: bytes
    offset: int
    contents: bytes


@dataclass(frozen=True)
class SessionAuditInfo:
    """TPMS_SESSION_AUDIT_INFO (10.12.7): `exclusive` when nothing was done meanwhile outside the session."""

    exclusive: bool
    digest: bytes


@dataclass(frozen=True)
class Attest:
    """TPMS_ATTEST (10.12.12) of type ATTEST_QUOTE, _CERTIFY, _NV or _SESSION_AUDIT; its magic was checked."""

    qualified_signer: bytes
    extra_data: bytes
    clock_info: ClockInfo
    firmware_version: int
    attested: QuoteInfo | CertifyInfo | NvInfo | SessionAuditInfo


class _AttestType(IntEnum):
    """TPM_ST (6.9)."""

    NV = 0x8014
    SESSION_AUDIT = 0x8016
    CERTIFY = 0x8017
    QUOTE = 0x8018


def parse_public(tpm2b_public: bytes) -> Public:
    """TPM2B_PUBLIC (12.2.5) of an RSA or ECC key; raises `TpmFormatError`."""
    outer = Reader(tpm2b_public, "TPM2B_PUBLIC")
    marshalled = outer.sized(0xFFFF)
    outer.end()
    reader = Reader(marshalled, "TPMT_PUBLIC")
    kind = reader.one_of(2, Algorithm)
    name_algorithm = hash_algorithm(reader)
    attributes = reader.one_of(4, ObjectAttributes)
    policy = reader.sized(MAX_DIGEST)
    parameters: RsaParameters | EccParameters
    unique: bytes | EccPoint
    match kind:
        case Algorithm.RSA:
            parameters, unique = _rsa_parameters(reader), reader.sized(MAX_RSA)
        case Algorithm.ECC:
            parameters, unique = _ecc_parameters(reader), _point(reader)
        case _:
            raise TpmFormatError(f"TPMT_PUBLIC: a key of type {kind.name} is neither RSA nor ECC")
    reader.end()
    return Public(name_algorithm, attributes, policy, parameters, unique, marshalled)


def parse_signature(tpmt_signature: bytes) -> Signature:
    """TPMT_SIGNATURE (11.3.4) by ECDSA, RSASSA or RSAPSS; raises `TpmFormatError`."""
    reader = Reader(tpmt_signature, "TPMT_SIGNATURE")
    algorithm = reader.one_of(2, Algorithm)
    signature: Signature
    match algorithm:
        case Algorithm.RSASSA | Algorithm.RSAPSS:
            signature = RsaSignature(Scheme(algorithm, hash_algorithm(reader)), reader.sized(MAX_RSA))
        case Algorithm.ECDSA:
            hashed = hash_algorithm(reader)
            r, s = (int.from_bytes(reader.sized(MAX_COORDINATE), "big") for _ in range(2))
            signature = EcdsaSignature(hashed, r, s)
        case _:
            raise TpmFormatError(f"TPMT_SIGNATURE: {algorithm.name} is not a signature scheme")
    reader.end()
    return signature


def parse_attest(tpms_attest: bytes) -> Attest:
    """TPMS_ATTEST of a quote, a session's audit, or a certification of key or NV index; raises `TpmFormatError`."""
    reader = Reader(tpms_attest, "TPMS_ATTEST")
    magic = reader.uint(4)
    if magic != MAGIC:
        raise TpmFormatError(f"TPMS_ATTEST: magic 0x{magic:08x}: no TPM made this")
    kind = reader.one_of(2, _AttestType)
    signer = reader.sized(MAX_NAME)
    extra = reader.sized(MAX_NAME)
    clock = ClockInfo(reader.uint(8), reader.uint(4), reader.uint(4), _yes_no(reader))
    firmware = reader.uint(8)
    attested: QuoteInfo | CertifyInfo | NvInfo | SessionAuditInfo
    match kind:
        case _AttestType.QUOTE:
            attested = QuoteInfo(_selections(reader), reader.sized(MAX_DIGEST))
        case _AttestType.CERTIFY:
            attested = CertifyInfo(reader.sized(MAX_NAME), reader.sized(MAX_NAME))
        case _AttestType.NV:
            attested = NvInfo(reader.sized(MAX_NAME), reader.uint(2), reader.sized(MAX_NV))
        case _AttestType.SESSION_AUDIT:
            attested = SessionAuditInfo(_yes_no(reader), reader.sized(MAX_DIGEST))
    reader.end()
    return Attest(signer, extra, clock, firmware, attested)


def hash_algorithm(reader: Reader) -> Algorithm:
    """TPMI_ALG_HASH (9.27)."""
    algorithm = reader.one_of(2, Algorithm)
    if algorithm not in {Algorithm.SHA1, Algorithm.SHA256, Algorithm.SHA384, Algorithm.SHA512}:
        raise TpmFormatError(f"{algorithm.name} where a hash algorithm is needed")
    return algorithm


def _yes_no(reader: Reader) -> bool:
    value = reader.uint(1)
    if value > 1:
        raise TpmFormatError(f"TPMI_YES_NO is {value}")
    return value == 1


def _rsa_parameters(reader: Reader) -> RsaParameters:
    symmetric = _symmetric(reader)
    scheme = _scheme(reader, {Algorithm.RSASSA, Algorithm.RSAPSS})
    key_bits, exponent = reader.uint(2), reader.uint(4)
    if key_bits not in {2048, 3072, 4096}:
        raise TpmFormatError(f"an RSA key of {key_bits} bits")
    if exponent not in {0, 65537}:
        raise TpmFormatError(f"an RSA key with exponent {exponent}")
    return RsaParameters(symmetric, scheme, key_bits, 65537)


def _ecc_parameters(reader: Reader) -> EccParameters:
    symmetric = _symmetric(reader)
    scheme = _scheme(reader, {Algorithm.ECDSA, Algorithm.ECDH})
    curve = reader.one_of(2, Curve)
    if reader.one_of(2, Algorithm) is not Algorithm.NULL:
        raise TpmFormatError("an ECC key with a key-derivation scheme")
    return EccParameters(symmetric, scheme, curve)


def _symmetric(reader: Reader) -> Symmetric | None:
    algorithm = reader.one_of(2, Algorithm)
    if algorithm is Algorithm.NULL:
        return None
    key_bits, mode = reader.uint(2), reader.one_of(2, Algorithm)
    if algorithm is not Algorithm.AES or mode is not Algorithm.CFB or key_bits not in {128, 192, 256}:
        raise TpmFormatError(f"a storage key protected by {algorithm.name}-{key_bits} in mode {mode.name}")
    return Symmetric(key_bits)


def _scheme(reader: Reader, allowed: set[Algorithm]) -> Scheme | None:
    algorithm = reader.one_of(2, Algorithm)
    if algorithm is Algorithm.NULL:
        return None
    if algorithm not in allowed:
        raise TpmFormatError(f"{algorithm.name} is no scheme for this key")
    return Scheme(algorithm, hash_algorithm(reader))


def _point(reader: Reader) -> EccPoint:
    return EccPoint(reader.sized(MAX_COORDINATE), reader.sized(MAX_COORDINATE))


def _selections(reader: Reader) -> tuple[PcrSelection, ...]:
    """TPML_PCR_SELECTION (10.9.7)."""
    count = reader.uint(4)
    if count > MAX_BANKS:
        raise TpmFormatError(f"TPML_PCR_SELECTION of {count} banks")
    return tuple(_selection(reader) for _ in range(count))


def _selection(reader: Reader) -> PcrSelection:
    bank, size = hash_algorithm(reader), reader.uint(1)
    if size > MAX_SELECT:
        raise TpmFormatError(f"TPMS_PCR_SELECTION of {size} bytes")
    bits = int.from_bytes(reader.take(size), "little")
    return PcrSelection(bank, tuple(index for index in range(8 * size) if bits >> index & 1))
