"""What every decision of the authority needs besides the database: policy, clock, randomness, keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from authority.refusal import Refused
from protocol.messages import Event
from protocol.problems import ErrorCode

if TYPE_CHECKING:
    from authority.checkpoints import LogSigner
    from authority.keys.kek import KekProvider
    from authority.keys.shredding import ShredKeys
    from authority.trust.policy import Policy

Push = tuple[str, Event]
"""A node id and what that node is to be told once the transaction has been committed."""


class Refusal(Refused):
    """A request that the present state does not allow (409); `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(ErrorCode.CONFLICT, 409, message, remedy)


@dataclass
class Runtime:
    """Passed to everything that decides. `now` gives POSIX seconds, `random` that many bytes from a CSPRNG.

    `kos_key` signs key deliveries, `approval_key` the states of machines and the lifting of locks, `ear_key`
    attestation results (P-256 all). `generation` grows with every restore of the authority. Without `log` no checkpoint
    of the audit log is signed, without `shreds` new key versions lie under the KEK alone. Attestation results are kept
    for `results_kept_s`, 0 for not at all. Only `policies.adopt` changes
    anything of it, and only the policy.
    """

    policy: Policy
    now: Callable[[], float]
    random: Callable[[int], bytes] = field(repr=False)
    kek: KekProvider = field(repr=False)
    kos_key: ec.EllipticCurvePrivateKey = field(repr=False)
    approval_key: ec.EllipticCurvePrivateKey = field(repr=False)
    generation: int
    ear_key: ec.EllipticCurvePrivateKey | None = field(default=None, repr=False)
    log: LogSigner | None = field(default=None, repr=False)
    shreds: ShredKeys | None = field(default=None, repr=False)
    results_kept_s: float = 0.0
