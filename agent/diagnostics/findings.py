"""What a check found: one value for every consumer, the terminal, programs and the support archive."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from agent.errors import AgentError
from agent.log import printable
from hal import DeviceError

Fact = int | float | str | bool

EXIT_ERROR = 1
EXIT_WARNING = 3
"""Exit status 2 stays what it is for every command: usage or configuration."""


class Severity(StrEnum):
    """How much a finding matters: `OK` and `INFO` ask nothing of anybody."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for `OK` to 3 for `ERROR`."""
        return list(Severity).index(self)


@dataclass(frozen=True)
class Finding:
    """One answer. `id` (`family.check`) is stable for programs; `subject` names the device or part.

    `what` is a sentence on one line, `remedy` the next step (always there from a warning on), `facts` numbers and names
    behind the sentence, never a sample.
    """

    id: str
    severity: Severity
    what: str
    remedy: str = ""
    subject: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For JSON: every text on one line and without control characters."""
        return {
            "id": self.id,
            "severity": self.severity.value,
            "subject": printable(self.subject),
            "what": printable(self.what),
            "remedy": printable(self.remedy),
            "facts": {name: printable(fact) if isinstance(fact, str) else fact for name, fact in self.facts.items()},
        }


def not_made(subject: str) -> Finding:
    """An enclave that its driver makes at first use, which a diagnosis is not."""
    return Finding("enclave.made", Severity.INFO, "the enclave is not there yet", "`keyvigil join` makes it.", subject)


def failed(identity: str, error: BaseException, subject: str = "") -> Finding:
    """An error of the house as a finding; anything else is a defect of ours, named by its type and place alone."""
    if isinstance(error, DeviceError | AgentError):
        return Finding(identity, Severity.ERROR, str(error), error.remedy, subject)
    if isinstance(error, OSError):
        cause = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or type(error).__name__)
        return Finding(identity, Severity.ERROR, cause, "Check the path and its permissions.", subject)
    what = f"the check itself failed: {type(error).__name__}{_place(error)}"
    return Finding(identity, Severity.ERROR, what, "This is a defect of Keyvigil: report it.", subject)


def _place(error: BaseException) -> str:
    """Where the error arose, for whoever mends it; empty for one that was never raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


def worst(findings: Iterable[Finding]) -> Severity:
    """The gravest severity among them; `OK` for none."""
    return max((finding.severity for finding in findings), key=lambda severity: severity.rank, default=Severity.OK)


def exit_status(findings: Iterable[Finding]) -> int:
    """0 when all is well, 1 with an error, 3 with warnings only."""
    match worst(findings):
        case Severity.ERROR:
            return EXIT_ERROR
        case Severity.WARNING:
            return EXIT_WARNING
        case _:
            return 0
