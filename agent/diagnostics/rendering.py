"""Findings, devices and progress as a person sees them; nothing is looked at or measured here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from agent.diagnostics.findings import Finding, Severity, worst
from agent.diagnostics.running import Check
from agent.log import printable

_MARKS = {
    Severity.OK: ("✓", "green"),
    Severity.INFO: ("·", "cyan"),
    Severity.WARNING: ("!", "yellow"),
    Severity.ERROR: ("✗", "bold red"),
}
_CONCLUSIONS = {
    Severity.OK: "All is well.",
    Severity.INFO: "All is well.",
    Severity.WARNING: "There are warnings.",
    Severity.ERROR: "There are errors.",
}


def report(findings: Sequence[Finding]) -> RenderableType:
    """Every finding under its subject, each trouble with its remedy, and the conclusion."""
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(width=1)
    table.add_column(ratio=1)
    for subject in dict.fromkeys(finding.subject for finding in findings):
        table.add_row("", Text(printable(subject) or "machine", style="bold"))
        for finding in findings:
            if finding.subject == subject:
                _add(table, finding)
    gravest = worst(findings)
    counted = ", ".join(_counted(findings, severity) for severity in (Severity.ERROR, Severity.WARNING))
    mark, style = _MARKS[gravest]
    return Group(table, Text(f"\n{mark} {_CONCLUSIONS[gravest]} {counted}.", style=style))


def _counted(findings: Sequence[Finding], severity: Severity) -> str:
    count = sum(finding.severity is severity for finding in findings)
    return f"{count} {severity.value}{'' if count == 1 else 's'}"


def _add(table: Table, finding: Finding) -> None:
    mark, style = _MARKS[finding.severity]
    said = Text(printable(finding.what))
    if finding.severity.rank >= Severity.WARNING.rank:
        said.append(f"  [{finding.id}]", style="dim")
    if finding.remedy:
        said.append(f"\n→ {printable(finding.remedy)}", style="italic dim")
    table.add_row(Text(mark, style=style), said)


def trouble_lines(finding: Finding) -> Text:
    """One finding with its subject and remedy, for a list."""
    mark, style = _MARKS[finding.severity]
    subject = f"{printable(finding.subject)}: " if finding.subject else ""
    lines = Text.assemble((f"{mark} ", style), f"{subject}{printable(finding.what)}")
    if finding.remedy:
        lines.append(f"\n  → {printable(finding.remedy)}", style="italic dim")
    return lines


class ScreenProgress:
    """What runs now, on a terminal; elsewhere only what the person is asked to do. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: dict[str, str] = {}
        self._done = 0
        self._live = Live(console=console, transient=True, refresh_per_second=8) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, check: Check) -> None:
        """Show the check as running."""
        self._running[check.name] = ""
        self._show()

    def noted(self, check: Check, text: str) -> None:
        """Show what the person is asked to do."""
        self._running[check.name] = printable(text)
        if self._live is None:
            self._console.print(Text(f"{printable(check.name)}: {printable(text)}"), soft_wrap=True)
        self._show()

    def finished(self, check: Check, findings: Iterable[Finding]) -> None:  # noqa: ARG002 - shown in the report
        """Take the check from the screen."""
        self._running.pop(check.name, None)
        self._done += 1
        self._show()

    def _show(self) -> None:
        if self._live is not None:
            lines = [
                Spinner("dots", Text.assemble(f"{printable(name)}  ", (asked, "bold yellow")))
                for name, asked in self._running.items()
            ]
            self._live.update(Group(*lines, Text(f"{self._done} checks done", style="dim")))


class NoProgress:
    """For programs: says nothing."""

    def started(self, check: Check) -> None:
        """Nothing."""

    def noted(self, check: Check, text: str) -> None:
        """Nothing."""

    def finished(self, check: Check, findings: Sequence[Finding]) -> None:
        """Nothing."""
