"""NV indices: what the attestation key says about a counter, a measurement or a guard, and which index that is.

TCG TPM 2.0 Library Part 2, 13: TPMA_NV 13.4, TPMS_NV_PUBLIC 13.5.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from enum import STRICT, IntEnum, IntFlag

from authority.tpm._reader import Reader, TpmFormatError
from authority.tpm._signed import verify_attest
from authority.tpm.keys import HASHES, RH_ENDORSEMENT
from authority.tpm.rejection import CertificationRejected, Reason, TpmRejected, rejecting
from authority.tpm.wire import MAX_DIGEST, MAX_NV, Algorithm, NvInfo, hash_algorithm

_TYPE_MASK = 0xF0
_TYPE_SHIFT = 4


class NvType(IntEnum):
    """TPM_NT (13.4): what an index does with what is written to it."""

    ORDINARY = 0
    COUNTER = 1
    BITS = 2
    EXTEND = 4
    PIN_FAIL = 8
    PIN_PASS = 9


class NvAttributes(IntFlag, boundary=STRICT):
    """TPMA_NV without its type; reserved bits are refused."""

    PP_WRITE = 1 << 0
    OWNER_WRITE = 1 << 1
    AUTH_WRITE = 1 << 2
    POLICY_WRITE = 1 << 3
    POLICY_DELETE = 1 << 10
    WRITE_LOCKED = 1 << 11
    WRITE_ALL = 1 << 12
    WRITE_DEFINE = 1 << 13
    WRITE_STCLEAR = 1 << 14
    GLOBAL_LOCK = 1 << 15
    PP_READ = 1 << 16
    OWNER_READ = 1 << 17
    AUTH_READ = 1 << 18
    POLICY_READ = 1 << 19
    NO_DA = 1 << 25
    ORDERLY = 1 << 26
    CLEAR_STCLEAR = 1 << 27
    READ_LOCKED = 1 << 28
    WRITTEN = 1 << 29
    PLATFORM_CREATE = 1 << 30
    READ_STCLEAR = 1 << 31


@dataclass(frozen=True)
class NvPublic:
    """TPMS_NV_PUBLIC; `marshalled` are the bytes that it was read from."""

    handle: int
    name_algorithm: Algorithm
    kind: NvType
    attributes: NvAttributes
    auth_policy: bytes
    data_size: int
    marshalled: bytes


@dataclass(frozen=True)
class NvIndex:
    """Which index a certification has to be of: everything of its public area but the handle.

    `first` and `last` are the handles that it may have: a label's place is told by the node.
    """

    kind: NvType
    attributes: NvAttributes
    auth_policy: bytes
    data_size: int
    first: int
    last: int


_A = NvAttributes
_BY_AUTH = _A.NO_DA | _A.AUTH_READ | _A.OWNER_READ | _A.AUTH_WRITE | _A.WRITTEN


def nv_mark(purpose: int, label: str) -> bytes:
    """32 bytes that stand for a label and the byte of what it labels; no policy session reaches them."""
    return hashlib.sha256(b"keyvigil nv index 1\0" + bytes([purpose]) + label.encode()).digest()


def counter_index(label: str) -> NvIndex:
    """A counter: 8 bytes, big-endian, that nothing takes back, nor any removal, and that is in NV at every step."""
    return NvIndex(NvType.COUNTER, _BY_AUTH, nv_mark(0xA1, label), 8, 0x01A10000, 0x01A1FFFF)


def measurement_index(label: str) -> NvIndex:
    """A measurement: SHA-256 extended from zeros, that starts anew at a reset of the TPM alone."""
    attributes = _BY_AUTH | _A.CLEAR_STCLEAR
    return NvIndex(NvType.EXTEND, attributes, nv_mark(0xA2, label), 32, 0x01A20000, 0x01A2FFFF)


def guard_index(policy: bytes) -> NvIndex:
    """A guard's PIN index with the authPolicy `policy`: count and limit, 4 bytes each, that its policy alone alters."""
    attributes = _A.NO_DA | _A.POLICY_READ | _A.POLICY_WRITE | _A.WRITTEN
    return NvIndex(NvType.PIN_FAIL, attributes, policy, 8, 0x01A40000, 0x01BFFFFF)


def parse_nv_public(tpm2b_nv_public: bytes) -> NvPublic:
    """TPM2B_NV_PUBLIC (13.6); raises `TpmFormatError`."""
    outer = Reader(tpm2b_nv_public, "TPM2B_NV_PUBLIC")
    marshalled = outer.sized(0xFFFF)
    outer.end()
    reader = Reader(marshalled, "TPMS_NV_PUBLIC")
    handle, name_algorithm, bits = reader.uint(4), hash_algorithm(reader), reader.uint(4)
    if handle >> 24 != 1:
        raise TpmFormatError(f"TPMS_NV_PUBLIC: 0x{handle:08x} is no NV index")
    try:
        kind = NvType((bits & _TYPE_MASK) >> _TYPE_SHIFT)
        attributes = NvAttributes(bits & ~_TYPE_MASK)
    except ValueError:
        raise TpmFormatError(f"TPMS_NV_PUBLIC: reserved attributes in 0x{bits:08x}") from None
    policy, size = reader.sized(MAX_DIGEST), reader.uint(2)
    reader.end()
    if size > MAX_NV:
        raise TpmFormatError(f"TPMS_NV_PUBLIC: an index of {size} bytes")
    return NvPublic(handle, name_algorithm, kind, attributes, policy, size, marshalled)


def nv_name(public: NvPublic) -> bytes:
    """Name of an index: algorithm and digest of its public area (Part 1, 16); raises `TpmRejected` for SHA-1."""
    if public.name_algorithm not in HASHES:
        raise TpmRejected(Reason.WEAK_HASH, f"an index named by {public.name_algorithm.name}")
    digest = hashlib.new(public.name_algorithm.name.lower(), public.marshalled).digest()
    return public.name_algorithm.to_bytes(2, "big") + digest


def verify_nv(
    attest: bytes,
    signature: bytes,
    ak_public: bytes,
    qualifying: bytes,
    index_public: bytes,
    expected: NvIndex,
    *,
    hierarchy: int | None = RH_ENDORSEMENT,
) -> bytes:
    """The whole content of an NV index, if the enrolled AK certified it over `qualifying`.

    `index_public` (TPM2B_NV_PUBLIC) is what the node says that the index is, `expected` what it has to be: an index
    with another attribute could be written by whoever likes. Raises `CertificationRejected`.
    """
    with rejecting(CertificationRejected):
        parsed, _ = verify_attest(attest, signature, ak_public, qualifying, hierarchy)
        if not isinstance(parsed.attested, NvInfo):
            raise TpmRejected(Reason.WRONG_TYPE, "another statement where an NV index's certification is needed")
        public = fit_index(index_public, expected)
        if not hmac.compare_digest(parsed.attested.name, nv_name(public)):
            raise TpmRejected(Reason.OTHER_OBJECT, "it certifies another NV index")
        if parsed.attested.offset != 0 or len(parsed.attested.contents) != public.data_size:
            raise TpmRejected(Reason.OTHER_OBJECT, "it certifies a part of the NV index")
        return parsed.attested.contents


def fit_index(index_public: bytes, expected: NvIndex) -> NvPublic:
    """The public area, if it is as expected; raises `TpmRejected`, `TpmFormatError`."""
    public = parse_nv_public(index_public)
    given = NvIndex(public.kind, public.attributes, public.auth_policy, public.data_size, expected.first, expected.last)
    if public.name_algorithm is not Algorithm.SHA256:
        raise TpmRejected(Reason.UNFIT_OBJECT, f"an NV index named by {public.name_algorithm.name}")
    if not expected.first <= public.handle <= expected.last:
        raise TpmRejected(Reason.UNFIT_OBJECT, f"an NV index at 0x{public.handle:08x}")
    if given != expected:
        raise TpmRejected(Reason.UNFIT_OBJECT, _difference(given, expected))
    return public


def _difference(given: NvIndex, expected: NvIndex) -> str:
    if replace(given, auth_policy=expected.auth_policy) == expected:
        return "an NV index with another policy: another label, or other keys"
    return f"an NV index of type {given.kind.name} with {given.attributes!r}, {given.data_size} bytes"
