"""The lab's network as people watch it: a live table, and what was measured in the end."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from simulators.lab.network.course import Course
from simulators.lab.network.esp import run_on_esp
from simulators.lab.network.report import Report
from simulators.lab.network.run import NetworkOptions, run_network
from simulators.lab.processes import LabError

_ACCESS_STYLE = {"full": "green", "limited": "yellow", "restricted": "dark_orange", "isolated": "bold red"}


def show_network(options: NetworkOptions, file: Path | None) -> None:
    """Run it with a live view, print the report, write it to `file`; raises `LabError`."""
    console = Console()
    news = Text("beginning")
    with Live(news, console=console, refresh_per_second=4) as live:

        def said(text: str) -> None:
            news.plain = text
            if not console.is_terminal:
                console.print(text)

        run = run_on_esp if options.sink == "xfrm" else run_network
        report = run(options, lambda course: live.update(Group(_table(course), news)), said)
    numbers = _numbers(report)
    table = Table(title="Measured", title_justify="left", show_header=False)
    for name, value in numbers.items():
        table.add_row(name.replace("_", " "), str(value))
    console.print(table)
    if file is not None:
        try:
            file.write_text(json.dumps(numbers, indent=2) + "\n")
        except OSError as error:
            raise LabError(f"cannot write {file}: {error.strerror}", "Choose another --json.") from None


def _table(course: Course) -> Table:
    table = Table(header_style="bold")
    for heading in ("node", "score", "tier", "access", "version", "epoch", "packets/s from it"):
        table.add_column(heading)
    for name, entry in sorted(course.moments[-1].nodes.items()):
        access = Text(entry["access"], style=_ACCESS_STYLE.get(entry["access"], ""))
        shown = [
            f"{entry['score'] / 1000:.2f}",
            entry["tier"],
            access,
            f"{entry.get('version')}",
            f"{entry.get('epoch')}",
        ]
        table.add_row(name, *shown, f"{course.rate(name):.0f}")
    return table


def _numbers(report: Report) -> dict[str, Any]:
    """The report with spreads in place of lists of seconds."""
    numbers = asdict(report)
    for name in ("cut_s", "cut_unheeded_s", "back_s", "installed_s"):
        numbers[name] = spread(numbers[name])
    return numbers


def spread(values: list[float]) -> dict[str, float]:
    """Count, median, 99th percentile (nearest rank) and largest."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    rank = max(0, -(-99 * len(ordered) // 100) - 1)
    return {"n": len(ordered), "p50": statistics.median(ordered), "p99": ordered[rank], "max": ordered[-1]}
