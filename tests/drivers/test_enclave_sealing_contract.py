"""What every enclave keeps to when it seals: registers, approvals, and the floor under them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hal import (
    AuthorisationFailed,
    Capability,
    SealAuthority,
    Unsupported,
)
from tests.drivers.enclave_contract import (
    SELECTION,
    STRANGER,
    approval,
    enclave,
    needs,
    point,
    rig,
    selection_for,
)

__all__ = ["enclave", "rig"]


@pytest.mark.parametrize("size", [1, 32, 128])
def test_a_sealed_secret_comes_back_and_cannot_be_read(enclave, size):
    needs(enclave, Capability.SEAL)
    secret = hashlib.shake_256(b"secret").digest(size)
    blob = enclave.seal(secret, selection_for(enclave))
    assert secret not in blob or size == 1
    assert enclave.unseal(blob) == secret


@pytest.mark.parametrize("secret", [b"", bytes(129)])
def test_secrets_of_no_or_too_many_bytes_are_refused(enclave, secret):
    needs(enclave, Capability.SEAL)
    with pytest.raises(ValueError, match="secret"):
        enclave.seal(secret, selection_for(enclave))


def test_another_enclave_does_not_unseal(rig, enclave):
    needs(enclave, Capability.SEAL)
    with rig.open_other() as other:
        blob = other.seal(b"secret", selection_for(other))
        assert other.unseal(blob) == b"secret"
    with pytest.raises(AuthorisationFailed):
        enclave.unseal(blob)


def test_every_damage_to_a_blob_is_refused(enclave):
    needs(enclave, Capability.SEAL)
    blob = enclave.seal(b"secret", selection_for(enclave))
    damaged = [blob[:at] + bytes([blob[at] ^ 0x10]) + blob[at + 1 :] for at in range(0, len(blob), 7)]
    for broken in (b"", blob[: len(blob) // 2], blob[:-1], blob + b"\0", *damaged):
        with pytest.raises(AuthorisationFailed):
            enclave.unseal(broken)
    assert enclave.unseal(blob) == b"secret"


def test_a_sealed_secret_outlasts_a_reboot(rig):
    with rig.open() as enclave:
        needs(enclave, Capability.SEAL)
        blob = enclave.seal(b"secret", selection_for(enclave))
    if rig.reboot is not None:
        rig.reboot()
    with rig.open() as again:
        assert again.unseal(blob) == b"secret"


def test_a_moved_register_keeps_the_secret_sealed(rig, enclave):
    needs(enclave, Capability.SEAL, Capability.PCRS)
    assert rig.move_pcr is not None
    blob, unaffected = enclave.seal(b"secret", SELECTION), enclave.seal(b"other", (1,))
    rig.move_pcr(7)
    with pytest.raises(AuthorisationFailed):
        enclave.unseal(blob)
    assert enclave.unseal(unaffected) == b"other"


def test_without_registers_none_can_be_named(enclave):
    needs(enclave, Capability.SEAL)
    if Capability.PCRS in enclave.info.capabilities:
        with pytest.raises(ValueError, match="selection"):
            enclave.seal(b"secret", ())
    else:
        with pytest.raises((ValueError, Unsupported)):
            enclave.seal(b"secret", SELECTION)


def test_an_approved_state_unseals_and_a_new_one_after_it_is_approved(rig, enclave):
    needs(enclave, Capability.SEAL_APPROVED)
    key = ec.generate_private_key(ec.SECP256R1())
    authority = SealAuthority(point(key), b"purpose")
    blob, approved = enclave.seal(b"secret", (), authority), approval(enclave, key, authority)
    assert enclave.unseal(blob, approved) == b"secret"
    assert rig.move_pcr is not None
    rig.move_pcr(7)
    with pytest.raises(AuthorisationFailed):
        enclave.unseal(blob, approved)
    assert enclave.unseal(blob, approval(enclave, key, authority)) == b"secret"


def test_approvals_that_are_not_the_authority_s_are_refused(enclave):
    needs(enclave, Capability.SEAL_APPROVED)
    key = ec.generate_private_key(ec.SECP256R1())
    authority = SealAuthority(point(key), b"purpose")
    blob, good = enclave.seal(b"secret", (), authority), approval(enclave, key, authority)
    refused = {
        "none": None,
        "another key": approval(enclave, STRANGER, authority),
        "another purpose": approval(enclave, key, replace(authority, reference=b"other purpose")),
        "another policy": replace(good, policy=bytes(32)),
        "other registers": replace(good, selection=(0,)),
        "another signature": replace(good, signature=good.signature[::-1]),
        "no signature": replace(good, signature=bytes(64)),
    }
    for what, wrong in refused.items():
        with pytest.raises(AuthorisationFailed):
            enclave.unseal(blob, wrong)
            pytest.fail(f"unsealed with {what}")
    assert enclave.unseal(blob, good) == b"secret"


def test_an_approval_below_the_floor_no_longer_counts(enclave):
    needs(enclave, Capability.SEAL_APPROVED, Capability.COUNTER)
    key = ec.generate_private_key(ec.SECP256R1())
    authority = SealAuthority(point(key), b"purpose", "floor")
    blob, now = enclave.seal(b"secret", (), authority), enclave.counter("floor")
    old, newer = approval(enclave, key, authority, now), approval(enclave, key, authority, now + 1)
    assert enclave.unseal(blob, old) == enclave.unseal(blob, newer) == b"secret"
    enclave.advance("floor")
    for stale in (old, replace(old, version=now + 1), replace(newer, version=now)):
        with pytest.raises(AuthorisationFailed):
            enclave.unseal(blob, stale)
    assert enclave.unseal(blob, newer) == b"secret"


def test_a_floor_counts_even_for_an_approval_from_before_the_counter_was_removed(enclave):
    needs(enclave, Capability.SEAL_APPROVED, Capability.COUNTER)
    key = ec.generate_private_key(ec.SECP256R1())
    authority = SealAuthority(point(key), b"purpose", "floor")
    blob, now = enclave.seal(b"secret", (), authority), enclave.counter("floor")
    old = approval(enclave, key, authority, now)
    enclave.forget("floor")
    with pytest.raises(AuthorisationFailed):
        enclave.unseal(blob, old)
    assert enclave.counter("floor") > now
    with pytest.raises(AuthorisationFailed):
        enclave.unseal(blob, old)
