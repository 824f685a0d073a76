"""One use of the enclave at a time: a lock between processes around open and close of the configured device."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from agent.state import StateDirectory
from hal import Clock, Deadline, Enclave, PcrSelection
from protocol.codec import ProtocolViolation

T = TypeVar("T")

ENCLAVE_WAIT_S = 20.0


@dataclass(frozen=True)
class EnclaveGate:
    """Opens the enclave per use, because a TPM simulator and a raw TPM device each take one connection only."""

    state: StateDirectory
    opener: Callable[[], Enclave]
    clock: Clock

    @contextmanager
    def use(self, seconds: float = ENCLAVE_WAIT_S) -> Iterator[Enclave]:
        """The enclave for as long as the block lasts; raises `Busy` after `seconds`, and the driver's errors."""
        with self.state.enclave_lock(Deadline.after(seconds, self.clock)), self.opener() as enclave:
            yield enclave

    def run(self, work: Callable[[Enclave], T]) -> T:
        """The result of `work` on the enclave."""
        with self.use() as enclave:
            return work(enclave)


def pcr_selection(indices: list[int]) -> PcrSelection:
    """PCR indices as the authority sent them; raises `ProtocolViolation` unless ascending numbers from 0 to 23."""
    ascending = all(a < b for a, b in itertools.pairwise(indices))
    if not indices or not ascending or indices[0] < 0 or indices[-1] > 23:
        raise ProtocolViolation("the authority asks for PCRs that are not ascending numbers from 0 to 23")
    return tuple(indices)
