"""What an examination finds: named, with reason and remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Check(StrEnum):
    """What is examined."""

    CREDENTIALS = "credentials"
    CLOCK = "clock"
    DATABASE = "database"
    DISK = "disk"
    KEYS = "keys"
    SCHEDULER = "scheduler"
    SINKS = "sinks"
    SERVING = "serving"


@dataclass(frozen=True)
class Finding:
    """Something is not in order. `hinders`: requests cannot be answered rightly until it is."""

    check: Check
    reason: str
    remedy: str
    hinders: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"check": self.check.value, "reason": self.reason, "remedy": self.remedy, "hinders": self.hinders}


@dataclass(frozen=True)
class Report:
    """Everything that was found at one moment (POSIX seconds); nothing, if all is well."""

    at: float
    findings: Sequence[Finding] = ()

    @property
    def healthy(self) -> bool:
        """Nothing was found."""
        return not self.findings

    @property
    def ready(self) -> bool:
        """Requests can be answered."""
        return not any(each.hinders for each in self.findings)

    @property
    def failing(self) -> list[str]:
        """The checks that found something; what strangers may know."""
        return sorted({each.check.value for each in self.findings})

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "healthy": self.healthy,
            "ready": self.ready,
            "at": self.at,
            "findings": [each.as_dict() for each in self.findings],
        }
