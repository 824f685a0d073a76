"""What runs below this process, as anybody on the machine can see it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

PERIOD_S = 0.1


def descendants(root: int) -> dict[int, str]:
    """Process id and arguments of everything that `root` started, directly or not."""
    parents, arguments = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                status = (entry / "stat").read_text()
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            arguments[int(entry.name)] = b" ".join(words).decode(errors="replace")
            parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    return {pid: arguments[pid] for pid in arguments if pid != root and _below(pid, root, parents)}


def _below(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == root:
            return True
    return False


class Recorder:
    """A thread that keeps the arguments of every process below `root` (this process by default)."""

    def __init__(self, root: int | None = None) -> None:
        self.root = root or os.getpid()
        self.seen: dict[int, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def arguments(self) -> str:
        """Every argument list that was seen, one a line."""
        return "\n".join(self.seen.values())

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self.seen.update({pid: text for pid, text in descendants(self.root).items() if text})


def alive(pid: int) -> bool:
    """Whether a process of this id runs and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
