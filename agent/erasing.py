"""Erasing a profile from a node: its files, its openings, its guard in the enclave, and what a device keeps."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from agent.capturing import Booth
from agent.enclave import EnclaveGate
from agent.errors import AgentError, ProfileError
from agent.extension import KeptAtDevice, PersonAbsent
from agent.log import event
from agent.openings import OpeningStore
from agent.profile import Permit, ProfileVault, RecordHeader
from hal import Deadline, DeviceError

WITHDRAW_S = 30.0


@dataclass(frozen=True)
class Eraser:
    """Removes profiles of this node; `booth` opens the devices that keep templates.

    `permit` asks the TPM's owner for what only he may remove.
    """

    vault: ProfileVault
    gate: EnclaveGate
    booth: Booth
    openings: OpeningStore
    permit: Permit | None = None

    def erase(self, record_id: str) -> list[str]:
        """Remove everything of a record, one that is not readable or not there included; what could not be removed.

        The files go in any case: without them the rest opens nothing. Raises `StateError`, `ProtocolViolation`.
        """
        header = self._header(record_id)
        left = [] if header is None else [*self._withdrawn(header), *self._unguarded(header)]
        self.vault.discard(record_id)
        self.openings.discard(record_id)
        event(logging.WARNING, "a profile was erased", record=record_id, left=len(left))
        return left

    def _header(self, record_id: str) -> RecordHeader | None:
        try:
            return self.vault.header(record_id)
        except ProfileError:
            return None

    def _withdrawn(self, header: RecordHeader) -> list[str]:
        """What a device keeps of this person is taken back from it."""
        left: list[str] = []
        for model in header.modalities:
            modality = self.booth.modalities.get(model.modality)
            if not isinstance(modality, KeptAtDevice) or not self.vault.holds(model.modality, header.record_id):
                continue
            try:
                with self.booth.session(model.modality, 0, Deadline.after(WITHDRAW_S, self.booth.clock)) as session:
                    session.withdraw()
            except (AgentError, DeviceError, PersonAbsent) as error:
                left.append(f"the {model.modality} device keeps what it enrolled: {error}")
        return left

    def _unguarded(self, header: RecordHeader) -> list[str]:
        try:
            with self.gate.use() as enclave:
                header.key.forget(enclave, self.permit)
        except (AgentError, DeviceError) as error:
            return [f"the enclave keeps the index of the profile key: {error}"]
        return []
