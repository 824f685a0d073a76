"""Arguments out of range never reach a TPM: they raise `ValueError`."""

from __future__ import annotations

import re
from itertools import pairwise

from hal import Approval, Grant, PcrSelection, SealAuthority

LABEL = re.compile(r"[a-z0-9-]{1,32}")
REFERENCE_BYTES = 32
AUTH_BYTES = 32
_PIN_LIMIT = 0xFFFFFFFF
_VERSION_LIMIT = 2**64 - 1
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


def check_length(what: str, value: bytes, length: int) -> None:
    """Exactly `length` bytes."""
    if len(value) != length:
        raise ValueError(f"{what} has {len(value)} bytes, {length} are needed")


def check_at_most(what: str, value: bytes, length: int) -> None:
    """No more than `length` bytes."""
    if len(value) > length:
        raise ValueError(f"{what} has {len(value)} bytes, at most {length} are allowed")


def check_some(what: str, value: bytes, length: int) -> None:
    """1 to `length` bytes."""
    check_at_most(what, value, length)
    if not value:
        raise ValueError(f"{what} is empty")


def check_selection(selection: PcrSelection) -> None:
    """Ascending indices from 0 to 23, at least one."""
    ascending = all(a < b for a, b in pairwise(selection))
    if not selection or not ascending or selection[0] < 0 or selection[-1] > 23:
        raise ValueError(f"not a PCR selection: {selection!r}; ascending numbers from 0 to 23 are needed")


def check_point(what: str, point: bytes) -> None:
    """SEC 1, 2.3.4: an uncompressed point on P-256."""
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    on_curve = (y * y - (x * x * x - 3 * x + _B)) % _P == 0
    if len(point) != 65 or point[0] != 4 or max(x, y) >= _P or not on_curve:
        raise ValueError(f"{what} is not an uncompressed point on P-256")


def check_label(label: str) -> None:
    """A label names what outlasts a call."""
    if not LABEL.fullmatch(label):
        raise ValueError(f"not a label: {label!r}; 1 to 32 of a-z, 0-9 and - are needed")


def check_limit(limit: int) -> None:
    """How many wrong answers lock a PIN."""
    if not 1 <= limit <= _PIN_LIMIT:
        raise ValueError(f"a PIN limit of {limit} wrong answers: at least 1 is needed")


def check_guard(label: str, limit: int, reset_key: bytes) -> None:
    """Label and limit of a guard, and whose signature lifts its lock."""
    check_label(label)
    check_limit(limit)
    check_point("the reset key", reset_key)


def check_secrets(*values: bytes) -> None:
    """PINs and authorisation values of a guard have one length, so that no two differ in closing zeros alone."""
    for value in values:
        check_length("a PIN or authorisation value", value, AUTH_BYTES)


def check_owner(owner: bytes | Grant) -> None:
    """The owner's authorisation value, or the grant of one command."""
    if isinstance(owner, Grant):
        check_length("the grant's signature", owner.signature, 64)
    else:
        check_at_most("owner authorisation", owner, AUTH_BYTES)


def check_version(version: int) -> None:
    """A version has the size of a counter."""
    if not 0 <= version <= _VERSION_LIMIT:
        raise ValueError(f"an approval's version is {version}: a counter of 64 bits does not reach that")


def check_authority(authority: SealAuthority) -> None:
    """Key, reference and floor of whoever approves."""
    check_point("the authority's key", authority.key)
    check_at_most("the authority's reference", authority.reference, REFERENCE_BYTES)
    if authority.floor:
        check_label(authority.floor)


def check_approval(approval: Approval) -> None:
    """The form of an approval, not its truth."""
    check_length("the approved policy", approval.policy, 32)
    check_length("the approval's signature", approval.signature, 64)
    check_selection(approval.selection)
    check_version(approval.version)
