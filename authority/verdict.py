"""What becomes of evidence: three outcomes and no other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Basis:
    """What speed and worth of accepted evidence come from, kept so that another policy can weigh it again.

    `models` are those of the strong modalities that count, `modalities` the names of all, `elapsed_s` the time.
    """

    models: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    elapsed_s: float | None = None


NO_BASIS = Basis()


@dataclass(frozen=True)
class Accepted:
    """The evidence holds. `speed` and `quality` are thousandths, `counter` the token's.

    `weak`: without a device that only says yes or no, it would have had too few modalities. `note` is a sentence about
    what of it counts for nothing, empty where everything counts.
    """

    speed: int
    quality: int
    counter: int
    weak: bool = False
    basis: Basis = NO_BASIS
    note: str = ""


@dataclass(frozen=True)
class Rejected:
    """The evidence does not hold; `reason` is for the audit log, not for the node.

    `machine` tells that the machine itself is not in its reference state, `understood` whether it was evidence at all.
    """

    reason: str
    machine: bool = False
    understood: bool = True


@dataclass(frozen=True)
class Undecided:
    """The authority could not decide, through a fault of its own."""

    reason: str


Appraisal = Accepted | Rejected | Undecided
