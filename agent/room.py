"""Whether the enclave has room for what an enrolment makes in it: asked before a ticket is spent and anybody waits."""

from __future__ import annotations

from agent.errors import AgentError
from hal import Capability, DeviceError, Enclave

GUARD_INDICES = 1
"""NV indices of each profile: the guard of its key."""
NODE_COUNTERS = 1
"""NV counters that a node's first profile brings: the floor under approvals."""


class NoRoom(AgentError):
    """The TPM cannot take the NV indices of another profile."""

    default_remedy = (
        "Erase profiles that nobody needs (`keyvigil profile list`), or remove what other software left with "
        "tpm2_nvundefine (`tpm2_getcap handles-nv-index`); then enrol with the same ticket. Where the TPM's estimate "
        "is known to be too low, set `check_room = false` under [enrolment]."
    )


def check_room(enclave: Enclave, *, first: bool) -> None:
    """Raise `NoRoom` when the enclave says that the indices of another profile do not fit; `first` of the node.

    The TPM estimates it (TPM_PT_NV_COUNTERS_AVAIL, TCG TPM 2.0 Library Part 2, 6.13). An enclave without guards makes
    no index, and one that tells nothing is tried.
    """
    if Capability.GUARD not in enclave.info.capabilities:
        return
    try:
        status = enclave.status()
    except DeviceError:
        return
    counters = NODE_COUNTERS if first else 0
    if status.free_counters is not None and status.free_counters < counters:
        raise NoRoom("the TPM has no room for another NV counter, and the first profile of a node needs one")
    free, need = status.free_indices, GUARD_INDICES + counters
    if free is not None and free < need:
        raise NoRoom(f"the TPM has room for {free} more NV indices, and a profile needs {need}")
