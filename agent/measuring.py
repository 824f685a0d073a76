"""The agent measures its own code into the TPM, and has that and the counter of its evidence certified.

The index begins anew at a reset of the TPM, and then takes each version of the agent that starts. Which versions these
were is kept in a file; the TPM vouches for it, for no other list leads to what the index holds. That an agent measures
itself before it does anything else follows from the boot registers alone, as far as they reach.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.durable import read_struct, write_private
from agent.errors import StateError
from agent.log import event
from hal import Capability, Enclave, NvCertification, PackageCode
from protocol.measurement import AGENT_LABEL, COUNTER_LABEL, extended
from protocol.messages import CertifiedPublic, NvEvidence

PACKAGES = ("agent", "hal", "protocol")
"""What of Keyvigil runs on a node besides its pinned drivers."""
_NEEDED = frozenset({Capability.COUNTER, Capability.MEASURE})


class _Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured since the TPM's last reset, in order."""

    digests: list[bytes]


def code_digest(pins: Iterable[str]) -> bytes:
    """SHA-256 over the installed files of the agent and the hashes of its pinned drivers; raises `NotFound`."""
    digest = hashlib.sha256(b"keyvigil/agent-code/1")
    for part in (*(PackageCode.of(name).sha256 for name in PACKAGES), *sorted(pins)):
        digest.update(part.encode() + b"\0")
    return digest.digest()


@dataclass(frozen=True)
class Measurer:
    """`digest` is of the code that runs; `path` keeps what was measured before."""

    path: Path
    digest: bytes = field(repr=False)

    def measure(self, enclave: Enclave) -> list[bytes]:
        """What was measured since the TPM's reset, with this agent at the end; measured now unless it was before."""
        value, known = enclave.measurement(AGENT_LABEL), self._known()
        measured = next((known[:end] for end in range(len(known), -1, -1) if extended(known[:end]) == value), None)
        if measured is None:
            remedy = "Restart the machine, which resets the TPM."
            event(logging.ERROR, "what the TPM measured of agents cannot be explained", remedy=remedy)
            measured = []
        elif measured and measured[-1] == self.digest:
            return measured
        # Written first: a list that is one ahead is cut to what the index holds, one behind explains nothing.
        measured = [*measured, self.digest]
        write_private(self.path, msgspec.json.encode(_Measured(measured)))
        enclave.measure(AGENT_LABEL, self.digest)
        return measured

    def prove(self, enclave: Enclave, digest: bytes, *, counted: bool = True) -> NvEvidence | None:
        """Have the counter and the measurement certified over `digest` (32 bytes); what is `counted` advances it first.

        Nothing where the enclave has neither.
        """
        if not enclave.info.capabilities >= _NEEDED:
            return None
        measured = self.measure(enclave)
        if counted:
            enclave.advance(COUNTER_LABEL)
        return NvEvidence(
            counter=_public(enclave.certify_counter(COUNTER_LABEL, digest)),
            measurement=_public(enclave.certify_measurement(AGENT_LABEL, digest)),
            measured=measured,
        )

    def _known(self) -> list[bytes]:
        try:
            found = read_struct(self.path, _Measured)
        except StateError as error:
            event(logging.ERROR, "what was measured before cannot be read", error=str(error))
            return []
        return found.digests if found is not None else []


def _public(certification: NvCertification) -> CertifiedPublic:
    return CertifiedPublic(public=certification.public, attest=certification.attest, signature=certification.signature)
