"""Whose the TPM is: authorisation values of its owner hierarchy and of its lockout.

TCG TPM v2.0 Provisioning Guidance 1.0, 7.8: the storage root is kept before the owner's value is set, so that what was
made under it is used without that value.
"""

from __future__ import annotations

from typing import Any

from tpm2_pytss import ESYS_TR, TSS2_Exception

from drivers.tpm2 import _grants
from drivers.tpm2._errors import OWNER_REFUSED, tpm_code
from drivers.tpm2._tpm import DECRYPT, STORAGE_ROOT_HANDLE, Tpm
from hal import AuthorisationFailed, OwnerAuth, Unsupported

_LOCKOUT_AUTH_SET = 1 << 2


def take(tpm: Tpm, new: OwnerAuth, old: OwnerAuth, grant_key: bytes) -> None:
    """Lockout first, whose value is never guessed at: a wrong one would lock lockout itself. Then the owner's.

    The owner's policy lies before the value: whoever can no longer give the value is to be allowed commands.
    """
    current = _current_owner(tpm, new.owner, old.owner)
    with tpm.owned(current):
        _keep_root(tpm)
        if not tpm.properties(_grants.PERMANENT, 1)[_grants.PERMANENT] & _LOCKOUT_AUTH_SET and new.lockout:
            _change(tpm, ESYS_TR.LOCKOUT, b"", new.lockout)
        if grant_key:
            _grants.allow(tpm, grant_key)
        if current != new.owner:
            _change(tpm, ESYS_TR.OWNER, current, new.owner)
    tpm.esys.tr_set_auth(ESYS_TR.LOCKOUT, b"")


def _current_owner(tpm: Tpm, *candidates: bytes) -> bytes:
    """Which of the values is in force; a wrong one counts nowhere."""
    for value in candidates:
        with tpm.owned(value):
            try:
                _prove_owner(tpm)
            except TSS2_Exception as error:
                if tpm_code(error.rc) != OWNER_REFUSED:
                    raise
            else:
                return value
    raise AuthorisationFailed(
        "the TPM has another owner authorisation than the node knows",
        remedy="Give the one that is in force, or clear the TPM in the firmware set-up, then join and enrol again.",
    )


def _prove_owner(tpm: Tpm) -> None:
    with tpm.owned_root():
        pass


def _keep_root(tpm: Tpm) -> None:
    if tpm.handles(STORAGE_ROOT_HANDLE, STORAGE_ROOT_HANDLE):
        if not tpm.has_kept_root():
            raise Unsupported(
                f"the TPM keeps another key than the storage root at 0x{STORAGE_ROOT_HANDLE:08x}",
                remedy=f"Remove it if nothing needs it: tpm2_evictcontrol -c 0x{STORAGE_ROOT_HANDLE:08x}.",
            )
        return
    with tpm.salted(0) as session, tpm.owned_root() as root:
        tpm.esys.tr_close(tpm.esys.evict_control(ESYS_TR.OWNER, root, STORAGE_ROOT_HANDLE, session1=session))


def _change(tpm: Tpm, hierarchy: Any, current: bytes, new: bytes) -> None:
    """TPM2_HierarchyChangeAuth, the new value encrypted on the bus."""
    with tpm.salted(DECRYPT) as session:
        tpm.esys.tr_set_auth(hierarchy, current)
        tpm.esys.hierarchy_change_auth(hierarchy, new, session1=session)
