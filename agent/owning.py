"""Giving the TPM to the authority: its owner's values are set once, and each later command of the owner's is asked for.

Whatever this is interrupted by, doing it again goes on: the authority keeps what it drew until the TPM's key certifies
that the values are set, and setting them again changes nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from agent.client import AuthorityClient
from agent.enclave import EnclaveGate
from agent.errors import AgentError
from agent.identity import Identity
from agent.joining import DELIVERY_KEY_AUTH
from agent.log import event
from agent.measuring import Measurer
from agent.point import uncompressed_point
from agent.prover import Prover
from hal import Capability, Enclave, Grant, OwnerAuth, OwnerCommand
from protocol.digests import ownership_digest
from protocol.guard import FLOOR_LABEL
from protocol.levels import Ownership
from protocol.measurement import COUNTER_LABEL
from protocol.messages import IndexRequest, OwnershipAnswer, OwnershipReport, RemovalRequest
from protocol.ownership import open_values, ownership_info

_ROUNDS = 3
"""Before, after, and once more when something interrupted an earlier time half-way."""
WARNINGS = {
    Ownership.FOREIGN: "the TPM has an owner or lockout authorisation that the authority did not set; trust is capped. "
    "Clear it in the firmware set-up, or have both values taken back, then run `keyvigil join --rejoin`.",
    Ownership.LOST: "the TPM has lost the owner that the authority was; trust is capped. "
    "Run `keyvigil join --rejoin` with a new token, and enrol again.",
}


@dataclass(frozen=True)
class Owning:
    """What the agent does as the hands of its TPM's owner."""

    identity: Identity
    client: AuthorityClient
    gate: EnclaveGate
    measurer: Measurer | None = None

    def settle(self) -> Ownership:
        """Have the authority own the TPM, unless it does or somebody else does; what it is in the end.

        Nothing, for an enclave that is no TPM. Raises the errors of client and enclave.
        """
        if not Prover.of(self.identity).attests:
            return Ownership.NONE
        for _ in range(_ROUNDS):
            if (state := self._round(self.client.ownership_nonce())) is not Ownership.DRAWN:
                return _told(state)
        raise AgentError(
            "the TPM does not keep the owner's authorisation that was set",
            remedy="Clear the TPM in the firmware set-up, and join again with --rejoin.",
        )

    def permit_index(self, enrolment_id: str, command: OwnerCommand) -> Grant:
        """The authority's leave to define the index of a profile key."""
        asked = IndexRequest(
            nonce=command.nonce, public=command.index, initial=command.initial, change_key=command.change_key
        )
        return Grant(self.client.grant_index(enrolment_id, asked).signature)

    def permit_removal(self, record_id: str, command: OwnerCommand) -> Grant:
        """The authority's leave to remove the index of a profile that is out of use."""
        asked = RemovalRequest(nonce=command.nonce, public=command.index, change_key=command.change_key)
        return Grant(self.client.grant_removal(record_id, asked).signature)

    def _round(self, nonce: bytes) -> Ownership:
        """Report, and set what the authority gives."""
        report = self.gate.run(lambda enclave: self._report(enclave, nonce))
        if report is None:
            return Ownership.NONE
        answer = self.client.report_ownership(report)
        if answer.state is Ownership.DRAWN:
            self.gate.run(lambda enclave: self._take(enclave, nonce, answer))
        return answer.state

    def _report(self, enclave: Enclave, nonce: bytes) -> OwnershipReport | None:
        Prover.of(self.identity).check(enclave)
        if Capability.OWNERSHIP not in enclave.info.capabilities:
            return None
        proof = enclave.certify_ownership(ownership_digest(self.identity.node_id, nonce))
        return OwnershipReport(nonce=nonce, permanent=proof.permanent, attest=proof.attest, signature=proof.signature)

    def _take(self, enclave: Enclave, nonce: bytes, answer: OwnershipAnswer) -> None:
        """Indices that the node needs later come first: afterwards only the owner defines any."""
        key = self.identity.delivery_key.certified()
        recipient, info = uncompressed_point(key.public), ownership_info(self.identity.node_id, nonce)
        values = open_values(answer.sealed, info, recipient, lambda peer: enclave.agree(key, DELIVERY_KEY_AUTH, peer))
        for label in (COUNTER_LABEL, FLOOR_LABEL):
            enclave.counter(label)
        if self.measurer is not None:
            self.measurer.measure(enclave)
        enclave.take_ownership(OwnerAuth(values.owner, values.lockout), grant_key=answer.grant_key)


def _told(state: Ownership) -> Ownership:
    level = logging.ERROR if state in WARNINGS else logging.INFO
    event(level, "whose the TPM is", owner=state.value, remedy=WARNINGS.get(state, ""))
    return state
