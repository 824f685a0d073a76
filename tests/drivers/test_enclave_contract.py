"""What every enclave keeps to, whatever its technology: one suite, run on each rig of `enclave_rigs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.point import uncompressed_point
from hal import (
    AuthorisationFailed,
    Busy,
    Capability,
    CertifiedKey,
    Deadline,
    Device,
    DeviceError,
    DeviceKind,
    Enclave,
    EnclaveStatus,
    KeyUse,
    OwnerAuth,
    TimedOut,
    Transport,
    Unsupported,
)
from tests.drivers.enclave_contract import (
    AUTH,
    AUTHORITY,
    DIGEST,
    NO_GUARD,
    NONCE,
    SELECTION,
    STRANGER,
    enclave,
    needs,
    point,
    rig,
    verified,
)

__all__ = ["enclave", "rig"]


OPERATIONS: list[tuple[str, Callable[[Enclave], object]]] = [
    (Capability.LOCKOUT, lambda enclave: enclave.lockout()),
    (Capability.ENDORSE, lambda enclave: enclave.endorsement()),
    (Capability.ENDORSE, lambda enclave: enclave.activate(b"\0\1x", b"\0\1x")),
    (Capability.ATTEST, lambda enclave: enclave.attestation_key()),
    (Capability.ATTEST, lambda enclave: enclave.quote(NONCE, SELECTION)),
    (Capability.REPORT, lambda enclave: enclave.report(NONCE)),
    (Capability.PCRS, lambda enclave: enclave.read_pcrs(SELECTION)),
    (Capability.SIGN, lambda enclave: enclave.create_key(KeyUse.SIGN, AUTH, NONCE)),
    (Capability.SIGN, lambda enclave: enclave.sign(CertifiedKey(b"", b""), AUTH, DIGEST)),
    (Capability.AGREE, lambda enclave: enclave.create_key(KeyUse.AGREE, AUTH, NONCE)),
    (Capability.AGREE, lambda enclave: enclave.agree(CertifiedKey(b"", b""), AUTH, point(STRANGER))),
    (Capability.SEAL, lambda enclave: enclave.seal(b"secret", ())),
    (Capability.SEAL, lambda enclave: enclave.unseal(b"blob")),
    (Capability.SEAL_APPROVED, lambda enclave: enclave.seal(b"secret", (), AUTHORITY)),
    (Capability.SEAL_APPROVED, lambda enclave: enclave.pcr_policy(SELECTION, AUTHORITY)),
    (Capability.COUNTER, lambda enclave: enclave.counter("label")),
    (Capability.COUNTER, lambda enclave: enclave.advance("label")),
    (Capability.MEASURE, lambda enclave: enclave.measurement("label")),
    (Capability.MEASURE, lambda enclave: enclave.measure("label", DIGEST)),
    (Capability.MEASURE, lambda enclave: enclave.certify_measurement("label", NONCE)),
    (Capability.PIN, lambda enclave: enclave.set_pin("label", b"1234", 3)),
    (Capability.PIN, lambda enclave: enclave.try_pin("label", b"1234")),
    (Capability.PIN, lambda enclave: enclave.pin_state("label")),
    (Capability.GUARD, lambda enclave: enclave.create_guarded_key("label", AUTH, DIGEST, 2, point(STRANGER), NONCE)),
    (Capability.GUARD, lambda enclave: enclave.guarded_sign(NO_GUARD, AUTH, AUTH, DIGEST)),
    (Capability.GUARD, lambda enclave: enclave.change_pin(NO_GUARD, AUTH, DIGEST)),
    (Capability.GUARD, lambda enclave: enclave.guard_state(NO_GUARD)),
    (Capability.GUARD, lambda enclave: enclave.certify_guard(NO_GUARD, NONCE)),
    (Capability.GUARD, lambda enclave: enclave.reset_nonce(NO_GUARD)),
    (Capability.GUARD, lambda enclave: enclave.reset_pin(NO_GUARD, bytes(64))),
    (Capability.GUARD, lambda enclave: enclave.remove_guard(NO_GUARD)),
    (Capability.OWNERSHIP, lambda enclave: enclave.take_ownership(OwnerAuth(AUTH, DIGEST))),
]


def test_an_enclave_says_what_it_is(rig, enclave):
    info = enclave.info
    assert isinstance(enclave, Device)
    assert info.kind == DeviceKind.ENCLAVE == rig.driver.kind
    assert enclave.kind is rig.kind
    assert info.capabilities <= set(Capability)
    assert info.transport in set(Transport)


def test_it_is_listed_as_it_is_opened(rig):
    with rig.open() as enclave:
        opened = enclave.info
    assert any(opened.same_device(listed) for listed in rig.driver.list(rig.options))


def test_options_that_do_not_exist_are_named_with_a_remedy(rig):
    (name,) = rig.wrong_options
    with pytest.raises(DeviceError, match=name) as caught:
        rig.driver.open({**rig.options, **rig.wrong_options})
    assert caught.value.remedy


def test_an_open_that_comes_too_late_is_timed_out(rig):
    with pytest.raises(TimedOut):
        rig.driver.open(rig.options, Deadline.after(0))
    with rig.open():
        pass


def test_a_second_claimant_is_refused_unless_the_enclave_is_shared(rig):
    with rig.open() as first:
        if Capability.SHARED in first.info.capabilities:
            with rig.open() as second:
                assert second.info.same_device(first.info)
        else:
            with pytest.raises(Busy):
                rig.open()
    with rig.open():
        pass


def test_it_is_released_when_its_block_ends_and_may_be_closed_twice(rig):
    with pytest.raises(KeyboardInterrupt), rig.open() as enclave:
        raise KeyboardInterrupt
    enclave.close()
    with rig.open():
        pass


def test_a_closed_enclave_says_so(rig):
    enclave = rig.open()
    enclave.close()
    with pytest.raises(DeviceError):
        enclave.status()


def test_everything_behind_a_missing_capability_is_unsupported(enclave):
    missing = [work for capability, work in OPERATIONS if capability not in enclave.info.capabilities]
    for work in missing:
        with pytest.raises(Unsupported) as caught:
            work(enclave)
        assert caught.value.remedy


def test_nothing_behind_a_present_capability_is_unsupported(enclave):
    present = [work for capability, work in OPERATIONS if capability in enclave.info.capabilities]
    for work in present:
        try:
            work(enclave)
        except Unsupported as error:
            pytest.fail(f"{error}")
        except (DeviceError, ValueError):
            continue


def test_its_status_names_it(enclave):
    status = enclave.status()
    assert isinstance(status, EnclaveStatus)
    assert (status.clock is not None) == (Capability.CLOCK in enclave.info.capabilities)
    assert (status.lockout is not None) == (Capability.LOCKOUT in enclave.info.capabilities)
    assert ("sha256" in status.pcr_banks) == (Capability.PCRS in enclave.info.capabilities)


def test_random_bytes_come_in_any_length_and_differ(enclave):
    try:
        enclave.random(1)
    except Unsupported:
        pytest.skip("no random numbers")
    assert [len(enclave.random(count)) for count in (0, 1, 32, 33, 100)] == [0, 1, 32, 33, 100]
    assert enclave.random(32) != enclave.random(32)


def test_a_key_signs_by_its_authorisation_value_alone(enclave):
    needs(enclave, Capability.SIGN)
    key = enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    verified(key, enclave.sign(key, AUTH, DIGEST), DIGEST)
    for wrong in (b"", AUTH[:-1], b"\x5b" * 32):
        with pytest.raises(AuthorisationFailed):
            enclave.sign(key, wrong, DIGEST)
    assert AUTH not in key.public + key.private


def test_a_key_agrees_by_its_authorisation_value_alone(enclave):
    needs(enclave, Capability.AGREE)
    key = enclave.create_key(KeyUse.AGREE, AUTH, NONCE)
    ours = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), uncompressed_point(key.public))
    assert enclave.agree(key, AUTH, point(STRANGER)) == STRANGER.exchange(ec.ECDH(), ours)
    with pytest.raises(AuthorisationFailed):
        enclave.agree(key, b"wrong", point(STRANGER))


def test_a_point_off_the_curve_is_refused(enclave):
    needs(enclave, Capability.AGREE)
    key, off = enclave.create_key(KeyUse.AGREE, AUTH, NONCE), bytearray(point(STRANGER))
    off[-1] ^= 1
    for peer in (bytes(off), b"", b"\x04" + bytes(64)):
        with pytest.raises(ValueError, match="point"):
            enclave.agree(key, AUTH, peer)


@pytest.mark.parametrize("use", list(KeyUse))
def test_keys_are_not_used_for_what_they_are_not_made(enclave, use):
    needs(enclave, Capability.SIGN, Capability.AGREE)
    key = enclave.create_key(use, AUTH, NONCE)
    with pytest.raises(DeviceError):
        if use is KeyUse.SIGN:
            enclave.agree(key, AUTH, point(STRANGER))
        else:
            enclave.sign(key, AUTH, DIGEST)


def test_a_key_of_another_enclave_and_a_damaged_one_are_refused(rig, enclave):
    needs(enclave, Capability.SIGN)
    key = enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    broken = [
        replace(key, private=key.private[:at] + bytes([key.private[at] ^ 1]) + key.private[at + 1 :])
        for at in (0, len(key.private) // 2, -1 % len(key.private))
    ]
    for damaged in (*broken, replace(key, private=b""), replace(key, public=b"")):
        with pytest.raises(DeviceError):
            enclave.sign(damaged, AUTH, DIGEST)
    with rig.open_other() as other:
        foreign = other.create_key(KeyUse.SIGN, AUTH, NONCE)
        assert other.sign(foreign, AUTH, DIGEST)
    with pytest.raises(DeviceError):
        enclave.sign(foreign, AUTH, DIGEST)
    verified(key, enclave.sign(key, AUTH, DIGEST), DIGEST)


def test_only_an_enclave_that_certifies_hands_out_certifications(enclave):
    needs(enclave, Capability.SIGN)
    key = enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    certified = Capability.CERTIFY in enclave.info.capabilities
    assert (bool(key.attest), bool(key.signature)) == (certified, certified)
    if certified:
        assert NONCE in key.attest


def test_keys_outlast_a_reboot(rig):
    with rig.open() as enclave:
        needs(enclave, Capability.SIGN)
        key = enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    if rig.reboot is not None:
        rig.reboot()
    with rig.open() as again:
        verified(key, again.sign(key, AUTH, DIGEST), DIGEST)


def test_a_quote_is_over_the_nonce_and_the_registers(enclave):
    needs(enclave, Capability.ATTEST, Capability.PCRS)
    quote = enclave.quote(NONCE, SELECTION)
    assert NONCE in quote.attest
    assert quote.pcrs == enclave.read_pcrs(SELECTION)
    assert sorted(quote.pcrs) == list(SELECTION)
    assert enclave.quote(DIGEST, SELECTION).attest != quote.attest


def test_a_report_carries_what_it_was_made_over(enclave):
    needs(enclave, Capability.REPORT)
    report = enclave.report(NONCE)
    assert report.provider
    assert report.report
    assert enclave.report(DIGEST).report != report.report
