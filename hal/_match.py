"""Fingerprint readers that compare by themselves and tell the outcome only: weak evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from hal._values import Deadline, Device


class Finger(StrEnum):
    """The ten fingers (ISO/IEC 19794-2 finger positions 1 to 10), by the names that fprintd has for them."""

    RIGHT_THUMB = "right-thumb"
    RIGHT_INDEX = "right-index-finger"
    RIGHT_MIDDLE = "right-middle-finger"
    RIGHT_RING = "right-ring-finger"
    RIGHT_LITTLE = "right-little-finger"
    LEFT_THUMB = "left-thumb"
    LEFT_INDEX = "left-index-finger"
    LEFT_MIDDLE = "left-middle-finger"
    LEFT_RING = "left-ring-finger"
    LEFT_LITTLE = "left-little-finger"


class ScanHint(StrEnum):
    """Why a scan did not count; the reader waits for the next one."""

    AGAIN = "again"
    TOO_SHORT = "too-short"
    NOT_CENTRED = "not-centred"
    LIFT_FIRST = "lift-first"


@dataclass(frozen=True)
class EnrolStage:
    """Progress of an enrolment: `passed` of `stages` scans are in; `hint` says why the last one did not count."""

    passed: int
    stages: int
    hint: ScanHint | None = None


@dataclass(frozen=True)
class MatchOutcome:
    """What the reader's own comparison said; `captured_ns` is monotonic and the time at which its word arrived.

    There is no score, no template and no image behind it, and it is bound to no challenge.
    """

    matched: bool
    sequence: int
    captured_ns: int


class MatchOnlyReader(Device, Protocol):
    """A reader that keeps its templates and compares against them; it has `MATCH_ONLY`, never `IMAGE`."""

    def enrol(self, finger: Finger, deadline: Deadline, on_stage: Callable[[EnrolStage], None] | None = None) -> None:
        """Take a template of `finger`, in place of an earlier one of it.

        `on_stage` is called once the reader waits for the first scan, and after every scan. Raises `TimedOut`,
        `Disconnected`, `PermissionDenied`, and `DeviceError` when the reader gives up.
        """
        ...

    def verify(
        self,
        deadline: Deadline,
        on_ready: Callable[[], None] | None = None,
        on_hint: Callable[[ScanHint], None] | None = None,
        finger: Finger | None = None,
    ) -> MatchOutcome:
        """Wait for a scan and compare it with the template of `finger`, or with whatever is enrolled.

        `on_ready` is called once the reader waits, `on_hint` for every scan that did not count. Raises `NotFound` when
        nothing is enrolled, `TimedOut`, `Disconnected`.
        """
        ...

    def enrolled(self, deadline: Deadline) -> tuple[Finger, ...]:
        """The fingers that have a template, in the order of `Finger`."""
        ...

    def forget(self, finger: Finger, deadline: Deadline) -> None:
        """Remove the template of `finger`; raises `NotFound` when there is none."""
        ...
