"""What every enclave keeps to when it counts: counters, measurements, PINs and guarded keys."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import pytest

from hal import (
    AuthorisationFailed,
    Capability,
    Locked,
    NotFound,
    Unsupported,
)
from tests.drivers.enclave_contract import (
    AUTH,
    DIGEST,
    NONCE,
    enclave,
    guarded,
    needs,
    rig,
    verified,
)

__all__ = ["enclave", "rig"]


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
