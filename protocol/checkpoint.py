"""Checkpoints of the audit log: size and root, signed with Ed25519 (C2SP tlog-checkpoint and signed-note).

origin
size
root, base64
(empty line)
— origin base64(key id, 4 bytes ‖ signature, 64 bytes)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.codec import ProtocolViolation
from protocol.merkle import HASH_BYTES

LOG_KEY_USAGE = x509.ObjectIdentifier("1.3.6.1.4.1.32473.1.1")
"""Extended key usage of the log's certificate, under the number that RFC 5612 sets aside for documentation."""
LONGEST_NOTE = 1024
_ED25519 = b"\x01"
_SIGNATURE_BYTES = 64
_LARGEST_SIZE = 2**63 - 1
_DASH = "\N{EM DASH} "


@dataclass(frozen=True)
class Checkpoint:
    """The log `origin` has `size` records whose tree has the root `root` (32 bytes)."""

    origin: str
    size: int
    root: bytes


def origin_of(ca_der: bytes) -> str:
    """The name of the log of the authority whose CA certificate is `ca_der`."""
    return f"keyvigil/log/{hashlib.sha256(ca_der).hexdigest()}"


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """The signed note."""
    body = _body(checkpoint)
    signed = _key_id(checkpoint.origin, key.public_key()) + key.sign(body.encode())
    return f"{body}\n{_DASH}{checkpoint.origin} {base64.b64encode(signed).decode()}\n"


def open_checkpoint(note: str, origin: str, key: Ed25519PublicKey) -> Checkpoint:
    """What a note says, once its signature and origin hold; raises `ProtocolViolation`."""
    if len(note) > LONGEST_NOTE:
        raise ProtocolViolation("the checkpoint is too long")
    body, separator, signatures = note.partition("\n\n")
    checkpoint = _parsed(body + "\n")
    if not separator or checkpoint.origin != origin:
        raise ProtocolViolation("the checkpoint is of another log")
    signed = _signature(signatures, origin)
    try:
        key.verify(signed[4:], (body + "\n").encode())
    except InvalidSignature:
        raise ProtocolViolation("the checkpoint's signature does not hold") from None
    if signed[:4] != _key_id(origin, key):
        raise ProtocolViolation("the checkpoint names another key")
    return checkpoint


def log_key(certificate: bytes, ca: x509.Certificate) -> Ed25519PublicKey:
    """The log's key in a certificate (DER) that the authority's CA made for it; raises `ProtocolViolation`."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        parsed.verify_directly_issued_by(ca)
        usages = parsed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        key = parsed.public_key()
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        raise ProtocolViolation(f"the log's certificate does not hold: {type(error).__name__}") from None
    if not isinstance(key, Ed25519PublicKey) or LOG_KEY_USAGE not in usages:
        raise ProtocolViolation("the certificate is not for a log")
    return key


def _body(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n"


def _parsed(body: str) -> Checkpoint:
    """Exactly three lines, each in the one form that `_body` writes."""
    lines = body.split("\n")
    try:
        origin, size, root = lines[:3]
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
    except (ValueError, binascii.Error):
        raise ProtocolViolation("not a checkpoint") from None
    sound = len(checkpoint.root) == HASH_BYTES and 0 <= checkpoint.size <= _LARGEST_SIZE
    if not sound or _body(checkpoint) != body:
        raise ProtocolViolation("not a checkpoint")
    return checkpoint


def _signature(lines: str, name: str) -> bytes:
    """Key id and signature of the one line that is the log's own; those of others, witnesses say, are passed over."""
    for line in lines.split("\n"):
        if line.startswith(f"{_DASH}{name} "):
            try:
                signed = base64.b64decode(line.rpartition(" ")[2], validate=True)
            except (ValueError, binascii.Error):
                break
            if len(signed) == 4 + _SIGNATURE_BYTES:
                return signed
            break
    raise ProtocolViolation("the checkpoint carries no signature of the log")


def _key_id(name: str, key: Ed25519PublicKey) -> bytes:
    public = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]
