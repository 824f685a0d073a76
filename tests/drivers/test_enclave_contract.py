"""What every enclave keeps to, whatever its technology: one suite, run on each rig of `enclave_rigs`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.point import uncompressed_point
from hal import (
    Approval,
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
    GuardedKey,
    KeyUse,
    Locked,
    NotFound,
    NvCertification,
    OwnerAuth,
    PcrSelection,
    SealAuthority,
    TimedOut,
    Transport,
    Unsupported,
)
from tests.drivers import enclave_rigs, token_rigs
from tests.drivers.enclave_rigs import Rig

NONCE, AUTH, DIGEST = bytes(range(32)), b"\x5a" * 32, b"\xd1" * 32
SELECTION = (0, 7)
STRANGER = ec.generate_private_key(ec.SECP256R1())


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


AUTHORITY = SealAuthority(point(STRANGER), b"reference")
NO_GUARD = GuardedKey("label", CertifiedKey(b"", b""), NvCertification(b"", b"", b""), b"", b"", b"")


def guarded(enclave: Enclave, label: str = "label") -> GuardedKey:
    return enclave.create_guarded_key(label, AUTH, DIGEST, 2, point(STRANGER), NONCE)


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


RIGS = enclave_rigs.RIGS | token_rigs.RIGS


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with RIGS[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def enclave(rig: Rig) -> Iterator[Enclave]:
    with rig.open() as opened:
        yield opened


def needs(enclave: Enclave, *capabilities: str) -> None:
    missing = set(capabilities) - enclave.info.capabilities
    if missing:
        pytest.skip(f"{enclave.info.driver} lacks {', '.join(sorted(missing))}")


def selection_for(enclave: Enclave) -> PcrSelection:
    return SELECTION if Capability.PCRS in enclave.info.capabilities else ()


def approval(enclave: Enclave, key: ec.EllipticCurvePrivateKey, authority: SealAuthority, version: int = 0) -> Approval:
    """The authority's approval of the enclave's present state."""
    policy = enclave.pcr_policy(SELECTION, authority, version)
    r, s = utils.decode_dss_signature(key.sign(policy + authority.reference, ec.ECDSA(hashes.SHA256())))
    return Approval(policy, r.to_bytes(32, "big") + s.to_bytes(32, "big"), SELECTION, version)


def verified(key: CertifiedKey, raw: bytes, digest: bytes) -> None:
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), uncompressed_point(key.public))
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public.verify(der, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


# Being a device.


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


# Keys.


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


# Attestation.


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


# Sealed secrets.


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


# What outlasts a reboot.


def test_a_counter_grows_by_one_and_keeps_its_value(rig):
    with rig.open() as enclave:
        needs(enclave, Capability.COUNTER)
        first = enclave.counter("first")
        assert [enclave.counter("first"), enclave.advance("first"), enclave.advance("first")] == [
            first,
            first + 1,
            first + 2,
        ]
        enclave.counter("second")
        enclave.advance("second")
        assert enclave.counter("first") == first + 2
    if rig.reboot is not None:
        rig.reboot()
    with rig.open() as again:
        assert again.counter("first") == first + 2


def test_a_counter_that_was_removed_goes_on_above_its_old_value(enclave):
    needs(enclave, Capability.COUNTER)
    enclave.counter("label")
    value = enclave.advance("label")
    enclave.forget("label")
    assert enclave.counter("label") > value


def test_a_measurement_is_an_extended_digest(enclave):
    needs(enclave, Capability.MEASURE)
    assert enclave.measurement("agent") == bytes(32)
    first = hashlib.sha256(bytes(32) + DIGEST).digest()
    second = hashlib.sha256(first + NONCE).digest()
    assert [enclave.measure("agent", DIGEST), enclave.measure("agent", NONCE)] == [first, second]
    assert enclave.measurement("agent") == second
    assert enclave.measurement("other") == bytes(32)


def test_a_measurement_starts_anew_at_a_reboot(rig):
    with rig.open() as enclave:
        needs(enclave, Capability.MEASURE)
        value = enclave.measure("agent", DIGEST)
    assert rig.reboot is not None
    rig.reboot()
    with rig.open() as again:
        assert again.measurement("agent") == bytes(32)
        with pytest.raises(NotFound):
            again.certify_measurement("agent", NONCE)
        assert again.measure("agent", DIGEST) == value


def test_counters_and_measurements_are_certified_where_the_enclave_certifies(enclave):
    needs(enclave, Capability.COUNTER, Capability.MEASURE, Capability.CERTIFY)
    value, extended = enclave.counter("label"), enclave.measure("label", DIGEST)
    counter, measured = enclave.certify_counter("label", NONCE), enclave.certify_measurement("label", NONCE)
    assert counter.attest.endswith(value.to_bytes(8, "big"))
    assert measured.attest.endswith(extended)
    for certification in (counter, measured):
        assert NONCE in certification.attest
        assert certification.public
        assert certification.signature


def test_a_pin_locks_after_its_limit_and_a_right_answer_clears_the_count(enclave):
    needs(enclave, Capability.PIN)
    enclave.set_pin("door", b"1234", 3)
    enclave.try_pin("door", b"1234")
    for wrong in (b"1235", b"1234\0"):
        with pytest.raises(AuthorisationFailed):
            enclave.try_pin("door", wrong)
    assert (enclave.pin_state("door").failures, enclave.pin_state("door").limit) == (2, 3)
    enclave.try_pin("door", b"1234")
    assert enclave.pin_state("door").failures == 0
    for _ in range(3):
        with pytest.raises(AuthorisationFailed):
            enclave.try_pin("door", b"wrong")
    with pytest.raises(AuthorisationFailed, match="lock"):
        enclave.try_pin("door", b"1234")
    enclave.set_pin("door", b"5678", 3)
    enclave.try_pin("door", b"5678")


def test_wrong_pins_are_counted_apart_and_over_a_reboot(rig):
    with rig.open() as enclave:
        needs(enclave, Capability.PIN)
        for label in ("front", "back"):
            enclave.set_pin(label, b"1234", 2)
        with pytest.raises(AuthorisationFailed):
            enclave.try_pin("front", b"wrong")
        if Capability.LOCKOUT in enclave.info.capabilities:
            assert enclave.lockout().failures == 0
    if rig.reboot is not None:
        rig.reboot()
    with rig.open() as again:
        assert [again.pin_state(label).failures for label in ("front", "back")] == [1, 0]


def test_what_was_never_made_is_not_found_and_may_be_forgotten(enclave):
    needs(enclave, Capability.PIN)
    for work in (lambda: enclave.pin_state("none"), lambda: enclave.try_pin("none", b"1234")):
        with pytest.raises(NotFound):
            work()
    enclave.forget("none")


def test_a_guarded_key_locks_and_its_pin_changes(rig):
    with rig.open() as enclave:
        needs(enclave, Capability.GUARD)
        key = guarded(enclave)
        verified(key.key, enclave.guarded_sign(key, AUTH, DIGEST, NONCE), NONCE)
        enclave.change_pin(key, AUTH, NONCE)
        with pytest.raises(AuthorisationFailed):
            enclave.guarded_sign(key, AUTH, DIGEST, NONCE)
    if rig.reboot is not None:
        rig.reboot()
    with rig.open() as again:
        assert (again.guard_state(key).failures, again.guard_state(key).limit) == (1, 2)
        with pytest.raises(AuthorisationFailed):
            again.guarded_sign(key, AUTH, DIGEST, NONCE)
        with pytest.raises(Locked):
            again.guarded_sign(key, NONCE, DIGEST, NONCE)
        again.forget("label")
        with pytest.raises(NotFound):
            again.guarded_sign(key, NONCE, DIGEST, NONCE)


def test_forgetting_a_label_leaves_the_others(enclave):
    needs(enclave, Capability.COUNTER, Capability.MEASURE, Capability.PIN)
    for label in ("one", "two"):
        enclave.counter(label)
        enclave.measure(label, DIGEST)
        enclave.set_pin(label, b"1234", 3)
    kept = enclave.counter("two"), enclave.measurement("two")
    enclave.forget("one")
    assert enclave.measurement("one") == bytes(32)
    with pytest.raises(NotFound):
        enclave.pin_state("one")
    assert (enclave.counter("two"), enclave.measurement("two")) == kept
    enclave.try_pin("two", b"1234")


@pytest.mark.parametrize("label", ["", "A", "a b", "a/b", "ä", "x" * 33, "a\n"])
def test_what_is_no_label_is_refused(enclave, label):
    needs(enclave, Capability.COUNTER)
    with pytest.raises(ValueError, match="label"):
        enclave.counter(label)
    with suppress(Unsupported), pytest.raises(ValueError, match="label"):
        enclave.forget(label)
