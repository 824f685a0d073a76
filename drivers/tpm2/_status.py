"""What a TPM says about itself. TPM_PT values: TCG TPM 2.0 Library Part 2, 6.13."""

from __future__ import annotations

from tpm2_pytss import TPM2_ALG, TPM2_CAP

from drivers.tpm2._tpm import Tpm
from hal import EnclaveClock, EnclaveStatus, LockoutStatus

_FIXED, _VARIABLE, _GROUP = 0x100, 0x200, 0x30
_MANUFACTURER, _VENDOR_STRINGS, _FIRMWARE = 0x105, (0x106, 0x107, 0x108, 0x109), (0x10B, 0x10C)
_PERMANENT, _LOCKOUT_COUNTER, _MAX_AUTH_FAIL, _LOCKOUT_INTERVAL = 0x200, 0x20E, 0x20F, 0x210
_FREE_SESSIONS, _FREE_OBJECTS, _COUNTERS, _FREE_COUNTERS, _MOST_COUNTERS = 0x204, 0x207, 0x20A, 0x20B, 0x116
_FOR_COUNTERS = 8
"""Indices that the reference implementation keeps room for, and gives to counters alone (MIN_COUNTER_INDICES)."""
_OWNER_AUTH_SET, _IN_LOCKOUT = 1 << 0, 1 << 9
"""Bits of TPMA_PERMANENT (Part 2, 8.6)."""
_BANKS = {
    TPM2_ALG.SHA1: "sha1",
    TPM2_ALG.SHA256: "sha256",
    TPM2_ALG.SHA384: "sha384",
    TPM2_ALG.SHA512: "sha512",
    TPM2_ALG.SM3_256: "sm3-256",
}


def identity(tpm: Tpm) -> tuple[str, str]:
    """Maker and model."""
    found = tpm.properties(_FIXED, _GROUP)
    return _text(found, (_MANUFACTURER,)), _text(found, _VENDOR_STRINGS)


def status(tpm: Tpm) -> EnclaveStatus:
    """Everything that a person may want to know; the clock's counts are plain in TPM2_ReadClock (Part 3, 29.1)."""
    fixed, now = tpm.properties(_FIXED, _GROUP), tpm.properties(_VARIABLE, _GROUP)
    firmware = b"".join(fixed.get(key, 0).to_bytes(4, "big") for key in _FIRMWARE)
    return EnclaveStatus(
        maker=_text(fixed, (_MANUFACTURER,)),
        model=_text(fixed, _VENDOR_STRINGS),
        firmware=".".join(str(int.from_bytes(firmware[at : at + 2], "big")) for at in range(0, 8, 2)),
        clock=_clock(tpm),
        lockout=_lockout(now),
        pcr_banks=banks(tpm),
        free_objects=now.get(_FREE_OBJECTS),
        free_sessions=now.get(_FREE_SESSIONS),
        free_counters=now.get(_FREE_COUNTERS),
        free_indices=free_indices(fixed, now),
        owner_auth_set=bool(now[_PERMANENT] & _OWNER_AUTH_SET) if _PERMANENT in now else None,
    )


def free_indices(fixed: dict[int, int], now: dict[int, int]) -> int | None:
    """How many NV indices of a counter's size, which are none, still fit, from a TPM's properties.

    What is left for counters, less what only they get. Nothing is known of a TPM that bounds counters by their number.
    """
    free, there = now.get(_FREE_COUNTERS), now.get(_COUNTERS)
    if free is None or there is None or fixed.get(_MOST_COUNTERS) != 0:
        return None
    return max(0, free - max(0, _FOR_COUNTERS - there))


def lockout(tpm: Tpm) -> LockoutStatus:
    """Dictionary-attack counters."""
    return _lockout(tpm.properties(_VARIABLE, _GROUP))


def _lockout(found: dict[int, int]) -> LockoutStatus:
    return LockoutStatus(
        failures=found.get(_LOCKOUT_COUNTER, 0),
        max_failures=found.get(_MAX_AUTH_FAIL, 0),
        recovery_seconds=found.get(_LOCKOUT_INTERVAL, 0),
        locked=bool(found.get(_PERMANENT, 0) & _IN_LOCKOUT),
    )


def _clock(tpm: Tpm) -> EnclaveClock:
    time = tpm.esys.read_clock()
    clock = time.clockInfo
    return EnclaveClock(int(clock.clock), int(clock.resetCount), int(clock.restartCount), bool(int(clock.safe)))


def banks(tpm: Tpm) -> tuple[str, ...]:
    """The banks in which any register is active; one that is only allocated in name has an empty selection."""
    _, found = tpm.esys.get_capability(TPM2_CAP.PCRS, 0, 1)
    data = found.data
    selections = data.assignedPCR
    active = [int(one.hash) for one in selections if any(bytes(one.pcrSelect)[: int(one.sizeofSelect)])]
    return tuple(_BANKS.get(algorithm, f"0x{algorithm:04x}") for algorithm in active)


def _text(properties: dict[int, int], keys: tuple[int, ...]) -> str:
    """Four ASCII characters a property, as TPM_PT_MANUFACTURER and TPM_PT_VENDOR_STRING_n pack them."""
    raw = b"".join(properties.get(key, 0).to_bytes(4, "big") for key in keys)
    return " ".join(raw.replace(b"\0", b"").decode("ascii", "replace").split())
