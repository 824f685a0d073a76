"""The demo as people watch it: a live table in the terminal, or one JSON event a line."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from simulators.lab.story import Finding
from simulators.lab.watch import Watch

_TIER_STYLE = {"high": "bold green", "medium": "bold yellow", "low": "bold red"}
_SEVERITY_STYLE = {"critical": "bold red", "error": "red", "warning": "yellow", "notice": "green"}
_LAST_ALERTS = 6
_COLUMNS = {"node": 4, "state": 5, "score": 11, "key version": 8, "rotation": 7, "access": 6, "next": 3, "why": 18}
"""Headings and the share of the width that each gets."""
_BAR = 12


class View(Protocol):
    """How the demo is shown."""

    def act(self, title: str) -> None:
        """A new act begins."""
        ...

    def changed(self, watch: Watch) -> None:
        """Nodes or alerts may have changed."""
        ...

    def end(self, findings: Sequence[Finding], numbers: dict[str, Any]) -> None:
        """The story is over."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class LiveView:
    """Redraws a table of the nodes, the acts so far, and the newest alerts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._acts: list[tuple[float, str]] = []
        self._watch: Watch | None = None
        self._began = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def picture(self) -> RenderableType:
        """What is shown now."""
        with self._lock:
            return self._frame()

    def act(self, title: str) -> None:
        """Add the act to the list."""
        with self._lock:
            self._acts.append((time.monotonic() - self._began, title))
            self._draw()

    def changed(self, watch: Watch) -> None:
        """Redraw."""
        with self._lock:
            self._watch = watch
            self._draw()

    def end(self, findings: Sequence[Finding], numbers: dict[str, Any]) -> None:
        """Print the summary below the last picture."""
        self.close()
        table = Table(title="What the story showed", title_justify="left", header_style="bold")
        for heading in ("act", "expected", "seen", ""):
            table.add_column(heading, overflow="fold")
        for found in findings:
            mark = "[green]as expected[/]" if found.met else "[bold red]NOT as expected[/]"
            table.add_row(escape(found.act), escape(found.expected), escape(found.seen), mark)
        self._console.print(table)
        for name, value in numbers.items():
            self._console.print(f"{escape(name)}: {escape(str(value))}")

    def close(self) -> None:
        """Stop redrawing."""
        self._live.stop()

    def _draw(self) -> None:
        self._live.update(self._frame(), refresh=True)

    def _frame(self) -> RenderableType:
        parts: list[RenderableType] = [self._nodes_table()]
        story = Text("\n".join(f"{at:5.0f} s  {title}" for at, title in self._acts[-5:]))
        parts.append(Panel(story, title="story", title_align="left"))
        parts.append(Panel(self._alerts(), title="alerts", title_align="left"))
        return Group(*parts)

    def _nodes_table(self) -> Table:
        table = Table(header_style="bold", expand=True)
        for heading, share in _COLUMNS.items():
            table.add_column(heading, overflow="fold", ratio=share)
        nodes = self._watch.nodes if self._watch else {}
        for name in sorted(nodes):
            table.add_row(*_cells(nodes[name], time.time()))
        return table

    def _alerts(self) -> Text:
        text = Text()
        for alert in (self._watch.alerts if self._watch else [])[-_LAST_ALERTS:]:
            style = _SEVERITY_STYLE.get(alert["severity"], "")
            at = time.strftime("%H:%M:%S", time.localtime(alert["at"]))
            text.append(f"{at} {alert['severity']:<8} {alert['text']}\n", style=style)
        return text


def _cells(entry: dict[str, Any], now: float) -> tuple[RenderableType, ...]:
    style = _TIER_STYLE[entry["tier"]]
    filled = round(entry["score"] * _BAR / 1000)
    score = Text(f"{entry['score'] / 1000:.2f} {'█' * filled}{'░' * (_BAR - filled)} {entry['tier']}", style=style)
    key = (
        "none" if entry["version"] is None else f"v{entry['version']} {entry['version_state']}, epoch {entry['epoch']}"
    )
    due = entry["next_challenge_at"]
    wait = "-" if due is None else f"{max(0, due - now):.0f} s"
    rotation = f"{entry['rotation']}, {entry['rotation_s']:g} s"
    return entry["name"], entry["state"], score, key, rotation, entry["access"], wait, escape(entry["explanation"])


class JsonView:
    """One JSON object a line: acts, every change of a node, every alert, the summary."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, dict[str, Any]] = {}
        self._alerts = 0

    def act(self, title: str) -> None:
        """Print the act."""
        self._print("act", {"title": title})

    def changed(self, watch: Watch) -> None:
        """Print what is new."""
        keys = (
            "name",
            "state",
            "score",
            "tier",
            "version",
            "version_state",
            "epoch",
            "rotation",
            "rotation_s",
            "access",
            "explanation",
            "next_challenge_at",
        )
        with self._lock:
            for name, entry in watch.nodes.items():
                shown = {key: entry[key] for key in keys}
                if self._last.get(name) != shown:
                    self._last[name] = shown
                    self._print("node", shown)
            for alert in watch.alerts[self._alerts :]:
                self._print("alert", alert)
            self._alerts = len(watch.alerts)

    def end(self, findings: Sequence[Finding], numbers: dict[str, Any]) -> None:
        """Print the summary."""
        met = all(found.met for found in findings)
        shown = [{"act": f.act, "expected": f.expected, "seen": f.seen, "met": f.met} for f in findings]
        self._print("summary", {"ok": met, "findings": shown, "numbers": numbers})

    def close(self) -> None:
        """Nothing to put back."""

    @staticmethod
    def _print(event: str, values: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps({"event": event, "at": round(time.time(), 3), **values}) + "\n")
        sys.stdout.flush()
