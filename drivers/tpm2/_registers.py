"""What outlasts a reboot or starts anew with it, in NV: counters, measurements, PINs."""

from __future__ import annotations

import hashlib

from drivers.tpm2._errors import LOCKED, OWNER_REFUSED, WRONG_AUTH
from drivers.tpm2._nv import COUNTER, GUARD, MEASUREMENT, PIN, PURPOSES, NvIndices, indices
from drivers.tpm2._tpm import Tpm, refusing
from hal import AuthorisationFailed, NotFound, NvCertification, PinState

_NOTHING = bytes(32)


def counter(tpm: Tpm, label: str) -> int:
    """Value of the counter, made when it is missing."""
    with indices(tpm) as nv:
        return _counter(nv, label)[1]


def advance(tpm: Tpm, label: str) -> int:
    """The counter's value after one more step."""
    with indices(tpm) as nv:
        number, _ = _counter(nv, label)
        nv.increment(number)
        return int.from_bytes(nv.read(number, COUNTER) or b"", "big")


def certify_counter(tpm: Tpm, label: str, qualifying: bytes) -> NvCertification:
    """The AK's word on the counter, made when it is missing."""
    with indices(tpm) as nv:
        return nv.certify(_counter(nv, label)[0], COUNTER, qualifying)


def counter_index(tpm: Tpm, label: str) -> int:
    """Handle of a counter that has a value, made when it is missing."""
    with indices(tpm) as nv:
        return _counter(nv, label)[0]


def existing_counter(tpm: Tpm, label: str) -> int | None:
    """Handle of a counter, if it is there."""
    with indices(tpm) as nv:
        return nv.find(COUNTER, label)


def measurement(tpm: Tpm, label: str) -> bytes:
    """What was measured since the last reset."""
    with indices(tpm) as nv:
        number = nv.find(MEASUREMENT, label)
        return _NOTHING if number is None else nv.read(number, MEASUREMENT) or _NOTHING


def measure(tpm: Tpm, label: str, digest: bytes) -> bytes:
    """The measurement after extending it."""
    with indices(tpm) as nv:
        number, _ = nv.ensure(MEASUREMENT, label)
        nv.extend(number, digest)
        return nv.read(number, MEASUREMENT) or _NOTHING


def certify_measurement(tpm: Tpm, label: str, qualifying: bytes) -> NvCertification:
    """The AK's word on a measurement; raises `NotFound` before the first since the last reset."""
    with indices(tpm) as nv:
        number = nv.find(MEASUREMENT, label)
        if number is None or nv.read(number, MEASUREMENT) is None:
            raise NotFound(
                f"nothing was measured under {label!r} since the TPM was reset", remedy="Measure before certifying."
            )
        return nv.certify(number, MEASUREMENT, qualifying)


def set_pin(tpm: Tpm, label: str, pin: bytes, limit: int) -> None:
    """Define the PIN-fail index anew: TPMS_NV_PIN_COUNTER_PARAMETERS (Part 2, 13.3), no failure so far."""
    with indices(tpm) as nv:
        nv.remove(PIN, label)
        number, _ = nv.ensure(PIN, label, _answer(pin))
        nv.write_by_owner(number, bytes(4) + limit.to_bytes(4, "big"))


def try_pin(tpm: Tpm, label: str, pin: bytes) -> None:
    """Read the index by its own authorisation value: the TPM counts, and nothing is learned but right or wrong."""
    wrong = AuthorisationFailed("the PIN is wrong", remedy="Answer again, before the limit is reached.")
    locked = AuthorisationFailed(
        "the PIN is locked after too many wrong answers", remedy="Set it anew, with the owner's authorisation."
    )
    with indices(tpm) as nv:
        number = _pin(nv, label)
        with refusing(frozenset({OWNER_REFUSED, WRONG_AUTH}), wrong), refusing(frozenset({LOCKED}), locked):
            nv.read(number, PIN, _answer(pin))


def pin_state(tpm: Tpm, label: str) -> PinState:
    """The counters, read by the owner's authorisation."""
    with indices(tpm) as nv:
        content = nv.read(_pin(nv, label), PIN, None)
    if content is None:
        raise _no_pin(label)
    return PinState(int.from_bytes(content[:4], "big"), int.from_bytes(content[4:], "big"))


def forget(tpm: Tpm, label: str) -> None:
    """Remove whatever there is under the label."""
    with indices(tpm) as nv:
        for purpose in (*PURPOSES, GUARD):
            nv.remove(purpose, label)


def _counter(nv: NvIndices, label: str) -> tuple[int, int]:
    """Handle and value; a counter has no value before its first step."""
    number, _ = nv.ensure(COUNTER, label)
    content = nv.read(number, COUNTER)
    if content is None:
        nv.increment(number)
        content = nv.read(number, COUNTER)
    return number, int.from_bytes(content or b"", "big")


def _answer(pin: bytes) -> bytes:
    """The index's authorisation value: a digest, for a TPM takes values that differ in closing zeros for one."""
    return hashlib.sha256(b"keyvigil pin 1\0" + pin).digest()


def _pin(nv: NvIndices, label: str) -> int:
    number = nv.find(PIN, label)
    if number is None:
        raise _no_pin(label)
    return number


def _no_pin(label: str) -> NotFound:
    return NotFound(f"there is no PIN {label!r} in the TPM", remedy="Set the PIN first.")
