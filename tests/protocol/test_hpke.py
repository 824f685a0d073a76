"""HPKE with the key agreement outside: against published vectors and against `cryptography`'s own HPKE."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from protocol import hpke
from protocol.codec import ProtocolViolation
from protocol.delivery import delivery_info, envelope_signing_input
from tests.protocol.vectors import load

V = load("hpke")
INFO = bytes.fromhex(V["info"])
SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class Recipient:
    """A key that gives shared x-coordinates only, as a TPM does."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.key = key
        self.point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def agree(self, point: bytes) -> bytes:
        return self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))

    def open(self, sealed: bytes, info: bytes) -> bytes:
        return hpke.open_sealed(sealed[:65], sealed[65:], info, self.point, self.agree)


def recipient_of(case: dict) -> Recipient:
    made = Recipient(ec.derive_private_key(int(case["private"], 16), ec.SECP256R1()))
    assert made.point.hex() == case["recipient"]
    return made


ONE, OTHER = (Recipient(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))


@pytest.mark.parametrize("name", ["rfc9180_a_3_1", "p256_sha256_aes256gcm"])
def test_published_shared_secrets(name: str) -> None:
    case = V[name]
    recipient, enc = recipient_of(case), bytes.fromhex(case["enc"])
    assert hpke._shared_secret(recipient.agree(enc), enc + recipient.point).hex() == case["shared_secret"]


def test_published_key_schedule_of_our_suite() -> None:
    case = V["p256_sha256_aes256gcm"]
    key, nonce = hpke._key_schedule(bytes.fromhex(case["shared_secret"]), INFO)
    assert (key.hex(), nonce.hex()) == (case["key"], case["base_nonce"])
    opened = AESGCM(key).decrypt(nonce, bytes.fromhex(case["ciphertext"]), bytes.fromhex(V["aad"]))
    assert opened.hex() == V["plaintext"]


@given(st.binary(max_size=300), st.binary(max_size=60))
def test_what_the_library_seals_opens_here(plaintext: bytes, info: bytes) -> None:
    assert ONE.open(SUITE.encrypt(plaintext, ONE.key.public_key(), info=info), info) == plaintext


def test_the_key_agreement_never_sees_more_than_the_point() -> None:
    seen: list[bytes] = []
    sealed = SUITE.encrypt(b"x", ONE.key.public_key(), info=b"i")

    def agree(point: bytes) -> bytes:
        seen.append(point)
        return ONE.agree(point)

    hpke.open_sealed(sealed[:65], sealed[65:], b"i", ONE.point, agree)
    assert seen == [sealed[:65]]


def test_another_recipient_context_or_ciphertext_does_not_open() -> None:
    sealed = SUITE.encrypt(b"secret", ONE.key.public_key(), info=b"context")
    assert ONE.open(sealed, b"context") == b"secret"
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for recipient, data, info in (
        (OTHER, sealed, b"context"),
        (ONE, sealed, b"other"),
        (ONE, flipped, b"context"),
        (ONE, sealed[:70], b"context"),
    ):
        with pytest.raises(ProtocolViolation, match="not sealed to this node"):
            recipient.open(data, info)


@pytest.mark.parametrize("enc", [b"", b"\x04" * 64, b"\x04" * 66])
def test_an_encapsulated_key_of_another_length_is_refused(enc: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="P-256 point"):
        hpke.open_sealed(enc, b"", b"", ONE.point, ONE.agree)


D = load("delivery")


def test_golden_delivery_context() -> None:
    info = delivery_info(D["node_id"], D["network"], D["generation"], D["number"])
    assert info.hex() == D["info"]
    assert envelope_signing_input(bytes.fromhex(D["payload"])).hex() == D["signing_input"]


OFF_CURVE = b"\x04" + bytes(63) + b"\x01"
COMPRESSED = ONE.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


@pytest.mark.parametrize(
    "enc",
    [OFF_CURVE, b"\x04" + b"\xff" * 64, b"\x05" + ONE.point[1:], COMPRESSED, b"\x00"],
    ids=["off-curve", "too-large", "hybrid", "compressed", "short"],
)
def test_a_point_that_is_not_on_the_curve_never_reaches_the_private_key(enc: bytes) -> None:
    """Whoever agrees with any point gives away bits of the key (invalid-curve attack)."""
    asked: list[bytes] = []

    def agree(point: bytes) -> bytes:
        asked.append(point)
        return bytes(32)

    with pytest.raises(ProtocolViolation, match="P-256 point"):
        hpke.open_sealed(enc, bytes(16), b"", ONE.point, agree)
    assert asked == []
