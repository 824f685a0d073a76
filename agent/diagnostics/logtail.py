"""The end of the agent's log, cut down to what is safe to hand on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.diagnostics.vocabulary import Vocabulary
from agent.errors import ConfigError

LINES = 500
_TAIL_BYTES = 512 * 1024
_JOURNAL_S = 10.0
_LEVELS = ("debug", "info", "warning", "error", "critical")
_SAFE_NUMBERS = frozenset(
    {
        "begin", "capture_face", "capture_fingerprint", "capture_voice", "count", "epoch", "features_face",
        "features_fingerprint", "features_voice", "generation", "limit", "match", "not_after", "number", "quote",
        "seconds", "sign", "since_captured", "since_verdict", "status", "submit", "total", "unlock", "version",
    }
)  # fmt: skip
"""Fields that count or time something; a number in any other field is left out."""
_PLAIN = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (DEBUG|INFO|WARNING|ERROR|CRITICAL) +(.*)")


def tail(log: Path | None, vocabulary: Vocabulary) -> tuple[str, int]:
    """The last lines of `log`, or of the journal, and how many lines were left out; raises `ConfigError`."""
    lines = _from_file(log) if log is not None else _from_journal()
    kept = [safe for line in lines[-LINES:] if (safe := safe_line(line, vocabulary)) is not None]
    return "".join(f"{line}\n" for line in kept), len(lines[-LINES:]) - len(kept)


def safe_line(line: str, vocabulary: Vocabulary) -> str | None:
    """A line that the agent wrote, its free text cut to known words; `None` for a line of any other form."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return _safe_plain(line, vocabulary)
    return _safe_json(found, vocabulary) if isinstance(found, dict) else None


def _safe_json(found: Mapping[str, Any], vocabulary: Vocabulary) -> str | None:
    at, level, event = (found.get(name) for name in ("at", "level", "event"))
    if not isinstance(at, float | int) or level not in _LEVELS or not isinstance(event, str):
        return None
    line: dict[str, Any] = {"at": at, "level": level, "event": vocabulary.cut(event)}
    for name, value in found.items():
        if name in line or not all(part in vocabulary for part in name.split("_")):
            continue
        if isinstance(value, str):
            line[name] = vocabulary.cut(value)
        elif isinstance(value, bool) or (isinstance(value, int | float) and name in _SAFE_NUMBERS):
            line[name] = value
    return json.dumps(line)


def _safe_plain(line: str, vocabulary: Vocabulary) -> str | None:
    match = _PLAIN.fullmatch(line)
    return f"{match[1]} {match[2]:<7} {vocabulary.cut(match[3])}" if match else None


def _from_file(log: Path) -> Sequence[str]:
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            data = file.read(_TAIL_BYTES)
    except OSError as error:
        raise ConfigError(f"{log}: {error.strerror}", remedy="Name the agent's log with --log.") from None
    return data.decode("utf-8", "replace").splitlines()


def _from_journal() -> Sequence[str]:
    """What the journal has of the agent; nothing where there is no journal, or it may not be read."""
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        return []
    argv = [journalctl, "--no-pager", "--quiet", "--output=cat", "--identifier=keyvigil", f"--lines={LINES}"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=_JOURNAL_S, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout[-_TAIL_BYTES:].decode("utf-8", "replace").splitlines()
