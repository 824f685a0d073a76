"""Checkpoints: one form, one key, one log; every other byte is refused."""

from __future__ import annotations

import base64
import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from protocol.checkpoint import LOG_KEY_USAGE, Checkpoint, log_key, open_checkpoint, origin_of, sign_checkpoint
from protocol.codec import ProtocolViolation

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = origin_of(b"a CA certificate")
SAID = Checkpoint(ORIGIN, 4711, hashlib.sha256(b"root").digest())
NOTE = sign_checkpoint(SAID, KEY)


def test_a_checkpoint_says_what_was_signed() -> None:
    assert open_checkpoint(NOTE, ORIGIN, KEY.public_key()) == SAID


def test_the_form_is_that_of_a_signed_note() -> None:
    """Written from C2SP's signed-note and tlog-checkpoint, without our code."""
    body, _, signature = NOTE.partition("\n\n")
    assert body.split("\n") == [ORIGIN, "4711", base64.b64encode(SAID.root).decode()]
    assert signature.startswith(f"\u2014 {ORIGIN} ")
    assert signature.endswith("\n")
    raw = base64.b64decode(signature.split(" ")[2])
    public = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert raw[:4] == hashlib.sha256(ORIGIN.encode() + b"\n\x01" + public).digest()[:4]
    KEY.public_key().verify(raw[4:], (body + "\n").encode())


@given(st.integers(0, len(NOTE) - 1), st.sampled_from(["0", "1", "A", " ", "\n", "x"]))
def test_no_character_can_be_changed(at: int, other: str) -> None:
    changed = NOTE[:at] + other + NOTE[at + 1 :]
    if changed == NOTE or at == len(NOTE) - 1:
        return
    with pytest.raises(ProtocolViolation):
        open_checkpoint(changed, ORIGIN, KEY.public_key())


def test_the_signature_of_another_key_or_log_is_refused() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    with pytest.raises(ProtocolViolation, match="signature"):
        open_checkpoint(NOTE, ORIGIN, other.public_key())
    with pytest.raises(ProtocolViolation, match="another log"):
        open_checkpoint(NOTE, origin_of(b"another"), KEY.public_key())


@pytest.mark.parametrize("size", ["04711", "+4711", "4_711", "-1", str(2**63), "", "4711 "])
def test_a_size_has_one_form(size: str) -> None:
    body = f"{ORIGIN}\n{size}\n{base64.b64encode(SAID.root).decode()}\n"
    key_id = base64.b64decode(NOTE.split(" ")[-1])[:4]
    signed = base64.b64encode(key_id + KEY.sign(body.encode())).decode()
    with pytest.raises(ProtocolViolation, match="not a checkpoint"):
        open_checkpoint(f"{body}\n\u2014 {ORIGIN} {signed}\n", ORIGIN, KEY.public_key())


def test_witnesses_may_sign_beside_the_log() -> None:
    assert open_checkpoint(NOTE + "\u2014 witness AAAA\n", ORIGIN, KEY.public_key()) == SAID
    with pytest.raises(ProtocolViolation, match="too long"):
        open_checkpoint(NOTE + "\u2014 witness AAAA\n" * 100, ORIGIN, KEY.public_key())


def certificate(ca_key: ec.EllipticCurvePrivateKey, public: object, *usages: x509.ObjectIdentifier) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CA")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(public)  # type: ignore[arg-type]
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(ca_key, SHA256())


def test_the_logs_key_is_certified_for_logs_by_this_ca_alone() -> None:
    ca_key, other_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = certificate(ca_key, ca_key.public_key())

    def der(key: ec.EllipticCurvePrivateKey, public: object, *usages: x509.ObjectIdentifier) -> bytes:
        return certificate(key, public, *usages).public_bytes(Encoding.DER)

    client = x509.ExtendedKeyUsageOID.CLIENT_AUTH
    assert log_key(der(ca_key, KEY.public_key(), LOG_KEY_USAGE), ca) == KEY.public_key()
    for wrong in (
        der(other_key, KEY.public_key(), LOG_KEY_USAGE),
        der(ca_key, KEY.public_key(), client),
        der(ca_key, KEY.public_key()),
        der(ca_key, other_key.public_key(), LOG_KEY_USAGE),
        b"no certificate",
    ):
        with pytest.raises(ProtocolViolation):
            log_key(wrong, ca)
