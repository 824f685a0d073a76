"""The byte parsers of the project, each with what it may raise and with inputs that it accepts."""

from __future__ import annotations

import struct

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import TPM2B_PUBLIC, TPMS_ATTEST
from usb.core import USBError

from agent.biometrics.errors import BiometricError
from agent.biometrics.finger.prepared import prepare
from agent.biometrics.minutiae import from_vector, to_vector
from agent.errors import StateError
from agent.point import uncompressed_point
from authority.tpm import (
    CertifiedUse,
    TpmFormatError,
    TpmRejected,
    parse_attest,
    parse_event_log,
    parse_public,
    parse_signature,
    public_key,
    verify_certify,
    verify_quote,
)
from authority.tpm.files import read_registers, read_signer
from drivers import usbip_wire
from drivers.ef01 import SystemParameters, find_packets
from drivers.ef01._transfer import ImageLayout, align
from drivers.nb1010 import checked_reply, frame_lines
from drivers.tpm2._blob import SealedBlob
from drivers.tpm2._tpm import whole
from drivers.uru4000 import interrupt_cause
from drivers.uru4000_image import decode_image, parse_header
from hal import AuthorisationFailed, ProtocolError, SealAuthority
from simulators.devices.nb1010_model import Nb1010Model
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb._connection import Exported
from tests.agent.biometrics.made import IMPRESSION
from tests.authority.tpm import forge, forge_log
from tests.fuzz._target import Target
from tests.fuzz.camera_targets import CAMERA_TARGETS
from tests.fuzz.netlink_targets import NETLINK_TARGETS

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


def _impression(data: bytes) -> object:
    """What is read of a vector makes the same vector again, and can be compared."""
    vector = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16)
    again = to_vector(from_vector(vector))
    assert np.array_equal(again, vector)
    return prepare(vector)


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


def _registers(data: bytes) -> object:
    return read_registers(data, parse_attest(_QUOTE).attested.selections)


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


def _usbip_operation(data: bytes) -> object:
    return usbip_wire.check_operation(data, usbip_wire.REP_IMPORT)


def _usbip_reply(data: bytes) -> object:
    return usbip_wire.reply_head(data, {7: 64, 8: 0})


def _usb_device(data: bytes) -> object:
    return usbip_wire.device_fields(data)


def _usb_configuration(data: bytes) -> object:
    """A whole configuration, down to the fields of every endpoint."""
    usbip_wire.total_length(data[:9])
    settings = [setting for interface in usbip_wire.settings(data) for setting in interface]
    points = [point for setting in settings for point in setting.endpoints]
    return [usbip_wire.interface_fields(one.interface) for one in settings] + [*map(usbip_wire.endpoint_fields, points)]


def _nb1010_reply(data: bytes) -> object:
    return checked_reply(bytes.fromhex("8038010008000000"), data)


def _nb1010_frame(data: bytes) -> object:
    return frame_lines(data, 6)


_LAYOUTS = (Uru4000Model("A1").layout, Nb1010Model().layout)
_DEVICES = tuple(layout.device_descriptor() for layout in _LAYOUTS)
_CONFIGURATIONS = tuple(layout.configuration_descriptor() for layout in _LAYOUTS)
_NB1010_REPLY = struct.pack("<BBBBIII", 0x80, 0x37, 1, 0, 16, 0, 0xF7)
_NB1010_FRAME = struct.pack("<BBBBIIIIIB", 0x80, 0x21, 0, 0, 540, 0, 1, 7, 256, 1) + bytes(range(256)) * 2 + bytes(3)
_USBIP_ENTRY = Exported(1, Uru4000Model("A1")).describe()
_USBIP_REPLIES = (
    struct.pack("!IIIII", 3, 7, 0, 0, 0) + struct.pack("!iI20x", 0, 64),
    struct.pack("!IIIII28x", 4, 9, 0, 0, 0),
)
_EF01_IMAGE = _ef01_packet(7, b"\x00") + b"".join(_ef01_packet(2, bytes([line]) * 32) for line in range(6))
_EF01_REPLY = struct.pack(">HHHHIHH", 0, 9, 1000, 3, 0xFFFFFFFF, 2, 6)
_MESSAGES = (_uru4000_message((2, 2), (0, 1), (0x82, 1), (5, 1)), _uru4000_message((4, 3), (5, 1)))

TARGETS: tuple[Target, ...] = (
    *CAMERA_TARGETS,
    *NETLINK_TARGETS,
    Target("fingerprint-vector", _impression, (BiometricError,), (IMPRESSION.astype("<i2").tobytes(),)),
    Target("uru4000-header", parse_header, (ProtocolError,), _MESSAGES),
    Target("uru4000-image", _uru4000_image, (ProtocolError,), _MESSAGES),
    Target("tpm-public", parse_public, (TpmFormatError,), _PUBLICS),
    Target("tpm-public-key", public_key, (TpmFormatError,), _PUBLICS),
    Target("tpm-attest", parse_attest, (TpmFormatError,), (_QUOTE, _FORGER.certification(_SIGNER))),
    Target("tpm-signature", parse_signature, (TpmFormatError,), (_FORGER.sign(_QUOTE),)),
    Target("tpm-quote", _quote, (TpmRejected,), (_joined(_QUOTE, _FORGER.sign(_QUOTE)),)),
    Target("tpm-certification", _certification, (TpmRejected,), (_joined(_FORGER.certification(_SIGNER), _SIGNER),)),
    Target("tpm-event-log", parse_event_log, (TpmFormatError,), (forge_log.LOG, forge_log.OLD)),
    Target("tpm-signer-file", read_signer, (TpmFormatError,), (_FORGER.public, _FORGER.public[2:])),
    Target("tpm-pcr-file", _registers, (TpmFormatError,), (forge.serialized(forge.PCRS),)),
    Target("uru4000-interrupt", interrupt_cause, (ProtocolError,), (b"\x01\x01" + bytes(62),)),
    Target("nb1010-reply", _nb1010_reply, (ProtocolError,), (_NB1010_REPLY,)),
    Target("nb1010-frame", _nb1010_frame, (ProtocolError,), (_NB1010_FRAME,)),
    Target("usbip-operation", _usbip_operation, (USBError,), (struct.pack("!HHI", 0x0111, 3, 0),)),
    Target("usbip-device-entry", usbip_wire.device_entry, (USBError,), (_USBIP_ENTRY,)),
    Target("usbip-reply", _usbip_reply, (USBError,), _USBIP_REPLIES),
    Target("usb-device", _usb_device, (USBError,), _DEVICES),
    Target(
        "usb-configuration", _usb_configuration, (USBError,), tuple(one.configuration_descriptor() for one in _LAYOUTS)
    ),
    Target("ef01-packets", _ef01_packets, (ProtocolError,), (_ef01_packet(7, b"\x00" + _EF01_REPLY), _EF01_IMAGE)),
    Target("ef01-alignment", _ef01_alignment, (ProtocolError,), (_EF01_IMAGE,)),
    Target("ef01-parameters", SystemParameters.parse, (ProtocolError,), (_EF01_REPLY,)),
    Target("tpm-sealed-blob", SealedBlob.unpack, (AuthorisationFailed,), _blobs()),
    Target("tpm-attest-at-the-node", _tpm_attest_at_the_node, (AuthorisationFailed,), (_QUOTE,)),
    Target("tpm-public-at-the-node", _tpm_public_at_the_node, (AuthorisationFailed,), _PUBLICS),
    Target("node-point", _point, (StateError,), _PUBLICS[:2]),
)
