"""Credentials: what can be checked without a TPM; the round trips stand in test_with_a_tpm."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from authority.tpm import TpmFormatError, make_credential
from tests.authority.tpm import forge

NAME = b"\x00\x0b" + b"n" * 32
P256 = ec.generate_private_key(ec.SECP256R1())
STORAGE = forge.ecc_public(P256, forge.EK, scheme=(forge.NULL,), symmetric=(forge.AES, 128, forge.CFB))


def counting(start: int):
    """Random bytes that are not: the same for the same `start`."""
    return lambda count: bytes((start + at) % 251 for at in range(count))


def test_a_credential_follows_from_its_random_bytes():
    first, again = (make_credential(STORAGE, NAME, b"secret", counting(1)) for _ in range(2))
    assert first == again
    assert first != make_credential(STORAGE, NAME, b"secret", counting(2))
    assert first.blob != make_credential(STORAGE, NAME[::-1], b"secret", counting(1)).blob


def test_nothing_of_the_secret_shows():
    credential = make_credential(STORAGE, NAME, b"a secret of 32 bytes, or nearly.", counting(1))
    assert b"secret" not in credential.blob + credential.encrypted_secret
    assert repr(credential) == "Credential()"


@pytest.mark.parametrize("secret", [b"", b"s" * 33])
def test_a_secret_of_another_size_is_a_mistake_of_the_caller(secret):
    with pytest.raises(ValueError, match="1 to 32"):
        make_credential(STORAGE, NAME, secret, counting(1))


@pytest.mark.parametrize(
    "ek_public",
    [
        b"",
        b"garbage",
        forge.ecc_public(P256, forge.AK),
        forge.rsa_public(rsa.generate_private_key(65537, 2048), forge.EK, storage=False),
        forge.ecc_public(
            P256, forge.EK, scheme=(forge.NULL,), symmetric=(forge.AES, 128, forge.CFB), name_algorithm=forge.SHA1
        ),
    ],
    ids=["empty", "garbage", "signing-key", "rsa-signing-key", "sha1-name"],
)
def test_a_key_that_cannot_protect_a_credential_is_refused(ek_public):
    with pytest.raises(TpmFormatError):
        make_credential(ek_public, NAME, b"secret", counting(1))
