"""The byte parsers of the project, each with what it may raise and with inputs that it accepts."""

from __future__ import annotations

import struct

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import TPM2B_PUBLIC, TPMS_ATTEST

from agent.errors import StateError
from agent.point import uncompressed_point
from authority.tpm import (
    CertifiedUse,
    TpmFormatError,
    TpmRejected,
    parse_attest,
    parse_public,
    parse_signature,
    public_key,
    verify_certify,
    verify_quote,
)
from drivers.ef01 import SystemParameters, find_packets
from drivers.ef01._transfer import ImageLayout, align
from drivers.tpm2._blob import SealedBlob
from drivers.tpm2._tpm import whole
from drivers.uru4000_image import decode_image, parse_header
from hal import AuthorisationFailed, ProtocolError, SealAuthority
from tests.authority.tpm import forge
from tests.fuzz._target import Target

_KEY = ec.derive_private_key(0x1234567, ec.SECP256R1())
_WIDE_KEY = ec.derive_private_key(0x1234567, ec.SECP384R1())
_FORGER = forge.Forger(_KEY)
_QUOTE = _FORGER.quote()
_SIGNER = forge.ecc_public(_KEY, forge.SIGNER)
_PUBLICS = (
    _FORGER.public,
    _SIGNER,
    forge.ecc_public(
        _WIDE_KEY,
        forge.EK,
        scheme=(forge.NULL,),
        policy=b"p" * 48,
        name_algorithm=forge.SHA384,
        symmetric=(forge.AES, 256, forge.CFB),
    ),
)


def _uru4000_message(*blocks: tuple[int, int]) -> bytes:
    """An image of few lines, so that a search gets far: `blocks` are pairs of flags and lines; flag 1 is absent."""
    sent = sum(lines for flags, lines in blocks if not flags & 1)
    table = bytes(value for block in blocks for value in block).ljust(30, b"\0")
    header = (struct.pack("<4xHB9x", sent, 3) + table).ljust(64, b"\0")
    return header + np.random.default_rng(5).integers(0, 256, sent * 384, np.uint8).tobytes()


def _uru4000_image(data: bytes) -> object:
    return decode_image(data, lambda number: 0x9E3779B9 * (number + 1) % (1 << 32))


def _point(data: bytes) -> object:
    return uncompressed_point(data)


def _split(data: bytes) -> tuple[bytes, bytes]:
    """An input for a parser of two things: length of the first as u16, first, second."""
    length = int.from_bytes(data[:2], "big")
    return data[2 : 2 + length], data[2 + length :]


def _joined(first: bytes, second: bytes) -> bytes:
    return struct.pack(">H", len(first)) + first + second


def _quote(data: bytes) -> object:
    attest, signature = _split(data)
    return verify_quote(attest, signature, _FORGER.public, forge.QUALIFYING, tuple(forge.PCRS), forge.PCRS)


def _certification(data: bytes) -> object:
    attest, public = _split(data)
    signature = _FORGER.sign(attest)
    return verify_certify(attest, signature, _FORGER.public, forge.QUALIFYING, public, CertifiedUse.SIGN)


def _ef01_packet(kind: int, payload: bytes) -> bytes:
    body = struct.pack(">BH", kind, len(payload) + 2) + payload
    return b"\xef\x01\xff\xff\xff\xff" + body + struct.pack(">H", sum(body) & 0xFFFF)


def _ef01_packets(data: bytes) -> object:
    """The search refuses nothing, so finding no packet counts as refusal."""
    if not (found := find_packets(data, 0xFFFFFFFF)):
        raise ProtocolError("no packet")
    return found


def _ef01_alignment(data: bytes) -> object:
    """The packets of a transfer at their places, likewise."""
    if not (found := align(data, ImageLayout(32))).whole:
        raise ProtocolError("no packet has a place")
    return found


def _tpm_attest_at_the_node(data: bytes) -> object:
    return whole(TPMS_ATTEST, data)


def _tpm_public_at_the_node(data: bytes) -> object:
    return whole(TPM2B_PUBLIC, data)


def _blobs() -> tuple[bytes, ...]:
    root, areas = b"\x00\x0b" + bytes(32), {"public": b"public area", "private": b"private area"}
    authority = SealAuthority(b"\x04" + bytes(64), b"reference", "floor")
    bound = (((0, 7), None), ((), authority))
    return tuple(SealedBlob(selection, root, **areas, authority=by).pack() for selection, by in bound)


_EF01_IMAGE = _ef01_packet(7, b"\x00") + b"".join(_ef01_packet(2, bytes([line]) * 32) for line in range(6))
_EF01_REPLY = struct.pack(">HHHHIHH", 0, 9, 1000, 3, 0xFFFFFFFF, 2, 6)
_MESSAGES = (_uru4000_message((2, 2), (0, 1), (0x82, 1), (5, 1)), _uru4000_message((4, 3), (5, 1)))

TARGETS: tuple[Target, ...] = (
    Target("uru4000-header", parse_header, (ProtocolError,), _MESSAGES),
    Target("uru4000-image", _uru4000_image, (ProtocolError,), _MESSAGES),
    Target("tpm-public", parse_public, (TpmFormatError,), _PUBLICS),
    Target("tpm-public-key", public_key, (TpmFormatError,), _PUBLICS),
    Target("tpm-attest", parse_attest, (TpmFormatError,), (_QUOTE, _FORGER.certification(_SIGNER))),
    Target("tpm-signature", parse_signature, (TpmFormatError,), (_FORGER.sign(_QUOTE),)),
    Target("tpm-quote", _quote, (TpmRejected,), (_joined(_QUOTE, _FORGER.sign(_QUOTE)),)),
    Target("tpm-certification", _certification, (TpmRejected,), (_joined(_FORGER.certification(_SIGNER), _SIGNER),)),
    Target("ef01-packets", _ef01_packets, (ProtocolError,), (_ef01_packet(7, b"\x00" + _EF01_REPLY), _EF01_IMAGE)),
    Target("ef01-alignment", _ef01_alignment, (ProtocolError,), (_EF01_IMAGE,)),
    Target("ef01-parameters", SystemParameters.parse, (ProtocolError,), (_EF01_REPLY,)),
    Target("tpm-sealed-blob", SealedBlob.unpack, (AuthorisationFailed,), _blobs()),
    Target("tpm-attest-at-the-node", _tpm_attest_at_the_node, (AuthorisationFailed,), (_QUOTE,)),
    Target("tpm-public-at-the-node", _tpm_public_at_the_node, (AuthorisationFailed,), _PUBLICS),
    Target("node-point", _point, (StateError,), _PUBLICS[:2]),
)
